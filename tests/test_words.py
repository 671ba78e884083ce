"""Names and sentences follow docs/glossary.md and the rules in CONTRIBUTING.md: plain words, American spelling."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = ('tas_mm', 'tools', 'examples', 'projects', 'configs', 'tests')
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs')

INSTEAD = {
    r'sights?': 'stage outputs, features',
    r'facts': 'inferred arguments',
    r'(work|works|worked|working) out': 'infer, compute',
    r'watching|answered': 'observe, short-circuit',
    r'specimens?': 'tiny models',
    r'(go|goes|going|went|gone) on': 'resume, continue',
    r'set aside': 'archive',
    r'damag\w+': 'corrupt',
    r'refus\w+': 'raise, reject',
    r'laid out for': 'built for',
    r'so-manieth': 'n-th',
}
"""Words, and what to write instead."""

PHRASES = {
    r'(?<!here )(is|are|was|were) no (?!longer|more|less|fewer|better|worse|larger|smaller|faster|slower)': 'is not a',
    r'(has|have|had) not (a|an|any|no|the|it|what|that|enough)\b': 'does not have',
    r'(has|have|had) not[.,;:)]': 'does not have',
    r'valid (is|are)': 'expected one of',
    r'(lie|lies|stand|stands) (in|on|at|here|there|beside|under|before|after|still)': 'is in',
    r'less (kd|tas|the (student|teacher))': 'TAS - KD',
    r'(is|are|was|were) told': 'receives',
    r'a word on': 'overrides',
}
"""Turns of phrase that have to be read twice, and what to write instead."""

CODE_IN_TEXT = re.compile(r'``[^`]*``|`[^`\n]*`')
BANNED = {re.compile(rf'\b(?:{words})\b', re.IGNORECASE): better for words, better in {**INSTEAD, **PHRASES}.items()}
VAGUE = re.compile(r'(What|Whether|Whoever|Where|Of|That of|As in|In which)\b')
"""First words of a docstring that does not say what the thing is or does."""


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring, those of attributes included."""
    for node in ast.walk(tree):
        for child in getattr(node, 'body', []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            text = child.value.value if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) else None
            if isinstance(text, str):
                yield child.lineno, text


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string with more than two words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(' ') > 1:
            yield node.lineno, node.value


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every comment."""
    with open(path, 'rb') as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page outside of blocks of code, without inline code and addresses."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fenced ^= line.lstrip().startswith('```')
        if not fenced:
            yield number, re.sub(r'`[^`]*`|\]\([^)]*\)|<[^>]*>', ' ', line)


def texts() -> Iterator[tuple[Path, int, str]]:
    """Yield file, line and text of everything that people read."""
    for path in (path for folder in CODE for path in (ROOT / folder).rglob('*.py')):
        tree = ast.parse(path.read_text())
        if path.name == 'test_words.py':
            continue
        said = [*docstrings(tree), *comments(path)]
        if 'tests' not in path.relative_to(ROOT).parts:
            said += messages(tree)
        for line, text in sorted(set(said)):
            yield path.relative_to(ROOT), line, CODE_IN_TEXT.sub(' ', text)
    for page in (
        page for name in PAGES for page in [ROOT / name, *(ROOT / name).rglob('*.md')] if page.suffix == '.md'
    ):
        if page.parent.name != 'benchmark':  # a diary, and raw tables
            for line, text in prose(page):
                yield page.relative_to(ROOT), line, text


TEXTS = [*texts()]


def test_words_are_the_fields():
    found = [
        f'{path}:{line + text[: match.start()].count(chr(10))}: {match[0]!r}. Write: {better}'
        for path, line, text in TEXTS
        for pattern, better in BANNED.items()
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_docstrings_begin_with_what_a_thing_is_or_does():
    found = []
    for path in (path for folder in CODE for path in (ROOT / folder).rglob('*.py')):
        for line, text in docstrings(ast.parse(path.read_text())):
            if match := VAGUE.match(text):
                found.append(f'{path.relative_to(ROOT)}:{line}: begins with {match[0]!r}')
    assert found == []


def test_errors_end_without_a_period():
    """A caller may add to an error, as with the number of a teacher, so its text ends without a period."""
    found = []
    for path in (path for folder in ('tas_mm', 'tools') for path in (ROOT / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = ast.unparse(node.exc.args[0])
                if text[-2:-1] == '.' and not text[:-1].endswith('...'):
                    found.append(f'{path.relative_to(ROOT)}:{node.lineno}')
    assert found == []


def test_examples_are_shown_as_code():
    """The site's parser of docstrings knows ``Examples:``, and takes ``Example:`` for a note."""
    found = [f'{path}:{line}' for path, line, text in TEXTS if re.search(r'^ *Example:$', text, re.MULTILINE)]
    assert found == []


def test_spelling():
    """codespell finds no misspelled and no British word; it reads its options from pyproject.toml."""
    names = [name for name in (*CODE, *PAGES) if (ROOT / name).exists()]
    done = subprocess.run([sys.executable, '-m', 'codespell_lib', *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout + done.stderr == ''
