"""Names and sentences follow docs/glossary.md and the rules in CONTRIBUTING.md: plain words, American spelling."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = ('tas_mm', 'tools', 'examples', 'projects', 'configs', 'tests')
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs')
FOUND_HERE = Path(__file__).relative_to(ROOT)

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

BRITISH = re.compile(
    r'\w*(normalis|initialis|regularis|optimis[ei]|generalis|visualis|specialis|organis|recognis|summaris|serialis|'
    r'quantis|standardis|penalis|minimis|maximis|synchronis|categoris|parametris|realis[ei]n?g|customis|utilis|finalis|'
    r'colour|behaviour|favour|neighbour|labelled|modelling|cancelled|analyse|catalogue|artefact|whilst)\w*|'
    r'(un)?distils?|grey\w*|licences?|centred?|judgement',
    re.IGNORECASE,
)
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
        if path.name == Path(__file__).name:
            continue
        said = [*docstrings(tree), *comments(path)]
        if 'tests' not in path.relative_to(ROOT).parts:
            said += messages(tree)
        for line, text in sorted(set(said)):
            yield path.relative_to(ROOT), line, text
    for page in (
        page for name in PAGES for page in ([ROOT / name] if name.endswith('.md') else (ROOT / name).rglob('*.md'))
    ):
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


def test_spelling_is_american():
    found = [
        f'{path}:{line}: {match[0]!r}'
        for path, line, text in TEXTS
        for match in re.finditer(rf'\b({BRITISH.pattern})\b', text, re.I)
    ]
    assert found == []


def test_docstrings_begin_with_what_a_thing_is_or_does():
    found = []
    for path in (path for folder in CODE for path in (ROOT / folder).rglob('*.py')):
        for line, text in docstrings(ast.parse(path.read_text())):
            if match := VAGUE.match(text):
                found.append(f'{path.relative_to(ROOT)}:{line}: begins with {match[0]!r}')
    assert found == []
