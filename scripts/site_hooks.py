"""Hooks of mkdocs: pages from files at the top of the repository, and links that lead out of docs/.

The pages are written for a reader of the repository: they link to ``../CONTRIBUTING.md`` or ``../conf/config.yaml``. On
the site the first is a page of its own. The second becomes a link into the repository if ``repo_url`` is known, and
plain text otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
# A link or an image with its text; code between backticks is passed over.
LINK = re.compile(
    r"(?P<code>```.*?^```|`[^`\n]+`(?!\]))|(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)", re.DOTALL | re.M
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files at the top of the repository as pages."""
    for name, page in PAGES.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt the links of a page."""
    tops = {page: name for name, page in PAGES.items()}
    own = page.file.src_uri
    place = tops[own] if own in tops and own != "index.md" else f"docs/{own}"

    def adapt(match: re.Match[str]) -> str:
        if match["code"]:
            return match[0]
        to, _, anchor = match["to"].partition("#")
        if not to or ":" in to:
            return match[0]
        there = normpath(str(PurePosixPath(place).parent / to))
        text, anchor = f"{match['mark']}[{match['text']}]", f"#{anchor}" if anchor else ""
        if there in PAGES:
            return f"{text}({PAGES[there]}{anchor})"
        if there.startswith("docs/"):
            return f"{text}({relpath(there, 'docs')}{anchor})"
        if config.repo_url:
            return f"{text}({config.repo_url.rstrip('/')}/blob/HEAD/{there}{anchor})"
        return match["text"]

    return LINK.sub(adapt, markdown)
