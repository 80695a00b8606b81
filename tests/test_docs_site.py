"""The site is built without a warning, has all pages in its search, and shows no raw markup."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.commands import ROOT

import mam
from mam import plugins

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings", "mike")),
    reason="the extra docs is not installed",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = made.stdout + made.stderr
    assert made.returncode == 0 and "WARNING" not in printed, printed
    return folder


def test_every_page_is_in_the_search(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    names = [page.stem for page in (ROOT / "docs").glob("*.md")] + ["changelog", "contributing", "security"]
    assert {f"{name}.html" for name in names} <= found


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(
            r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+stylesheet[^>]+href=\"(?:https?:)?//", text
        )
        assert not fetched, page


def test_links_out_of_the_pages_are_adapted(site):
    text = (site / "result.html").read_text(encoding="utf-8")
    assert "result.schema.json" in text and "../mam/" not in text
    assert 'href="contributing.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_the_python_api_is_complete_and_shows_no_raw_markup(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    article = re.sub(r"<[^>]+>", "", text[text.index("<article") : text.index("</article>")])
    assert not re.findall(r"``|:\w+:`", html.unescape(article))
    ids = set(re.findall(r'id="([\w.]+)"', text))
    for module in (mam, plugins):
        errors = {"MamError", "ConfigError", "DataError", "CheckpointError", "MergeError", "__version__"}
        names = set(module.__all__) - (errors if module is plugins else {"__version__"})
        assert all(any(one.endswith(f".{name}") for one in ids) for name in names), names
    assert len(article) > 30_000
