"""Links and anchors of the README and the pages lead somewhere, and the README stays short."""

from __future__ import annotations

import re

import pytest
from support.commands import FENCE, PAGES, ROOT

LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)")
CODE = re.compile(r"`[^`\n]*`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link, anchor in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        place = page.parent / link if link else page
        assert place.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(place), f"{page.name}: {link}#{anchor}"


def prose(text: str) -> str:
    """A page without its code."""
    return CODE.sub("", FENCE.sub("", text))


def anchors(page) -> set[str]:
    """The headings of a page as they are written in links, by GitHub and by the site alike."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150 and len(text.encode()) <= 10_000


def test_the_readme_begins_with_two_commands():
    """Those of a fresh machine, as CI gives them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = next(block for language, block in FENCE.findall(text) if language == "sh")
    assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["make demo", "make check"]
    assert "\nmake demo\nmake check" in (ROOT / ".ci" / "run").read_text()


def test_pages_have_one_title_and_no_raw_markup_of_docstrings():
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, page.name
        assert not re.search(r":(?:class|func|meth|mod):`", text), page.name


def test_outputs_are_marked_with_their_commands():
    """What a run printed is marked, so that a script can print it again."""
    for page in PAGES:
        for command in re.findall(r"<!-- output: (.+?) -->", page.read_text(encoding="utf-8")):
            assert command.startswith(("mam ", "python ")), page.name
        marks = len(re.findall(r"<!-- output: .+? -->\n+```", page.read_text(encoding="utf-8")))
        assert marks == page.read_text(encoding="utf-8").count("<!-- output: "), page.name


def test_messages_that_pages_explain_are_mams_own():
    """Between what a message fills in, shown as code, every piece of it is in mam's sources."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "mam").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)  # literals of several lines
    pieces = []
    for page in PAGES:
        table = (
            page.read_text(encoding="utf-8").partition("| message | what to do |\n|---|---|\n")[2].partition("\n\n")[0]
        )
        for line in table.splitlines():
            pieces += re.split(r"`[^`]*`|\.\.\.", line.split("|")[1])
    found = [piece.strip() for piece in pieces if piece.strip(" :")]
    assert len(found) > 12 and [piece for piece in found if piece not in joined] == []
