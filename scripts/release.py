"""Prepare a checkout for the build of a release, in the release workflow; nothing of it is committed.

    python scripts/release.py OWNER/NAME TAG

It refuses a tag that CHANGELOG.md or CITATION.cff do not name, adds the pages of the repository to [project.urls] of
pyproject.toml and demo/pyproject.toml, and makes the README's links absolute, since the package index shows the README
without the files beside it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = "[project.urls]\n"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")  # not of another site or of the page itself


def urls(repository: str) -> dict[str, str]:
    """Return the pages of ``OWNER/NAME`` on GitHub by the names that the package index knows."""
    owner, name = repository.split("/")
    page = f"https://github.com/{repository}"
    return {
        "Repository": page,
        "Documentation": f"https://{owner.lower()}.github.io/{name}/",
        "Issues": f"{page}/issues",
        "Changelog": f"{page}/blob/main/CHANGELOG.md",
    }


def with_urls(text: str, repository: str) -> str:
    """Return a pyproject.toml with the pages in [project.urls]; pages that stand there already are replaced."""
    if text.count(HEADER) != 1:
        raise ValueError("has no [project.urls], or more than one")
    pages = urls(repository)
    before, after = text.split(HEADER)
    table, section, rest = after.partition("\n[")
    kept = [line for line in table.splitlines() if line.partition("=")[0].strip() not in pages]
    lines = [*(f'{name} = "{page}"' for name, page in pages.items()), *kept]
    return before + HEADER + "\n".join(lines) + ("\n" if section else "") + section + rest


def with_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose relative links lead to the files of ``tag``, and its pictures to their content."""

    def absolute(link: re.Match[str]) -> str:
        host = (
            f"https://raw.githubusercontent.com/{repository}/{tag}"
            if link[1]
            else f"https://github.com/{repository}/blob/{tag}"
        )
        return f"{link[1]}[{link[2]}]({host}/{link[3]})"

    return LINK.sub(absolute, text)


def problems(tag: str, changelog: str, citation: str) -> list[str]:
    """Return what is wrong with releasing ``tag``."""
    found = re.fullmatch(r"v(\d+\.\d+\.\d+)", tag)
    if found is None:
        return [f"the tag {tag} is not of the form v1.2.3"]
    wrong = []
    if f"\n## [{found[1]}] - " not in changelog:
        wrong.append(f"CHANGELOG.md has no section ## [{found[1]}] with a date")
    if f"\nversion: {found[1]}\n" not in citation:
        wrong.append(f"CITATION.cff does not say version: {found[1]}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", help="OWNER/NAME on GitHub")
    parser.add_argument("tag", help="the tag that is released")
    asked = parser.parse_args()
    wrong = problems(asked.tag, read("CHANGELOG.md"), read("CITATION.cff"))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", asked.repository):
        wrong.append(f"{asked.repository!r} is not of the form OWNER/NAME")
    if wrong:
        sys.exit("\n".join(f"release.py: {problem}" for problem in wrong))
    for name in ("pyproject.toml", "demo/pyproject.toml"):
        write(name, with_urls(read(name), asked.repository))
    write("README.md", with_links(read("README.md"), asked.repository, asked.tag))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def write(name: str, text: str) -> None:
    (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
