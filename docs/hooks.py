"""What MkDocs cannot be told in mkdocs.yml: some pages of the site are files of the repository's root.

README.md is the site's first page. Links are written as they work in the repository, and bent here. Docstrings have
Sphinx's roles: names become code, and formulas become MathML, which browsers draw without a script.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let pages and docstrings have roles."""
    config.markdown_extensions.append(Roles())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(Path(config.config_file_path).parent / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Bend links to and from the pages of the root: they lie in ``docs`` now."""
    if page.file.src_uri in PAGES.values():
        markdown = markdown.replace('](docs/', '](')
    for name, target in PAGES.items():
        markdown = re.sub(rf'\]\((?:\.\./)*{re.escape(name)}', f']({target}', markdown)
    return markdown


class Roles(Extension):
    """Markdown with ``:class:`Name```, ``:math:`x``` and paragraphs that begin with ``.. math::``."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Replace the roles once blocks of code are out of the way."""
        md.preprocessors.register(RolesPreprocessor(md), 'roles', 24)


class RolesPreprocessor(Preprocessor):
    """Replaces roles in the lines of a text."""

    def run(self, lines: list[str]) -> list[str]:
        """Return the lines without roles."""
        return re.sub(
            r':(\w+):`~?([^`]+)`',
            lambda found: self.formula(found[2], 'inline') if found[1] == 'math' else f'`{found[2]}`',
            '\n'.join(self.with_formulas(lines)),
        ).split('\n')

    def with_formulas(self, lines: list[str]) -> Iterator[str]:
        """Yield the lines, and one in place of each paragraph that is a formula."""
        formula: list[str] = []
        for line in [*lines, '']:
            if formula and not line.strip():
                yield self.formula(' '.join(formula), 'block')
                formula = []
            if formula or line.startswith('.. math::'):
                formula.append(line.removeprefix('.. math::').strip())
            else:
                yield line

    def formula(self, latex: str, display: str) -> str:
        """Return what stands for the formula until the page is written."""
        return self.md.htmlStash.store(convert(latex, display=display))
