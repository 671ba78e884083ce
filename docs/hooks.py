"""What MkDocs cannot be told in mkdocs.yml: some pages of the site are files of the repository's root.

README.md is the site's first page. Links are written as they work in the repository, and bent here.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}


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
