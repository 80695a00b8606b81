"""Versions, metadata, changelog and citation agree, and a release is prepared as the workflow asks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import mam
from mam import identity

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import release

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
CITATION = (ROOT / "CITATION.cff").read_text()
SECTIONS = re.compile(r"(?m)^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$")
GROUPS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def project(folder: str = ".") -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())


def test_the_version_is_that_of_the_distribution():
    assert mam.__version__ == identity.VERSION == version("mam-bench")
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", identity.RELEASE)
    assert mam.__version__.startswith(identity.RELEASE)


def test_both_distributions_take_their_version_from_the_same_tags():
    for folder in (".", "demo"):
        assert "version" in project(folder)["project"]["dynamic"] and "version" not in project(folder)["project"]
    ours, demo = project()["tool"]["setuptools_scm"], project("demo")["tool"]["setuptools_scm"]
    assert demo == ours | {"root": ".."}
    assert "version_file" not in ours, "a written version would change the hash of mam's sources with each commit"


def test_the_demo_is_an_extra():
    assert project()["project"]["optional-dependencies"]["demo"] == [project("demo")["project"]["name"]]


def test_changelog_has_the_form_of_keep_a_changelog():
    assert "https://keepachangelog.com/en/1.1.0/" in CHANGELOG and "https://semver.org/" in CHANGELOG
    assert re.findall(r"(?m)^## (.*)$", CHANGELOG) == [
        name if not date else f"{name} - {date}" for name, date in map(heading, SECTIONS.findall(CHANGELOG))
    ]
    names, dates = zip(*SECTIONS.findall(CHANGELOG), strict=True)
    assert names[0] == "Unreleased" and dates[0] == "" and all(dates[1:])
    assert set(re.findall(r"(?m)^### (.*)$", CHANGELOG)) <= GROUPS
    assert len(CHANGELOG.splitlines()) <= 120 * len(names)


def heading(found: tuple[str, str]) -> tuple[str, str]:
    return f"[{found[0]}]", found[1]


def test_citation_names_the_newest_release():
    """Before the first release, the version that the first one will have."""
    released = [name for name, date in SECTIONS.findall(CHANGELOG) if date]
    planned = project()["tool"]["setuptools_scm"]["fallback_version"].partition(".dev")[0]
    citation = yaml.safe_load(CITATION)
    assert citation["version"] == (released or [planned])[0]
    assert citation["license"] == project()["project"]["license"] and citation["cff-version"] == "1.2.0"
    assert "arXiv:2312.14378" in str(citation["preferred-citation"])


def test_a_release_adds_the_pages_of_the_repository():
    text = (ROOT / "pyproject.toml").read_text()
    made = release.with_urls(text, "Someone/mam-bench")
    before, after = tomllib.loads(text), tomllib.loads(made)
    assert after["project"].pop("urls") == {
        "Repository": "https://github.com/Someone/mam-bench",
        "Documentation": "https://someone.github.io/mam-bench/",
        "Issues": "https://github.com/Someone/mam-bench/issues",
        "Changelog": "https://github.com/Someone/mam-bench/blob/main/CHANGELOG.md",
        "Paper": "https://arxiv.org/abs/2312.14378",
    }
    assert before["project"].pop("urls") == {"Paper": "https://arxiv.org/abs/2312.14378"}
    assert after == before
    assert release.with_urls(made, "Someone/mam-bench") == made
    assert tomllib.loads(release.with_urls((ROOT / "demo" / "pyproject.toml").read_text(), "a/b"))["tool"]
    with pytest.raises(ValueError, match="no \\[project.urls\\]"):
        release.with_urls("[project]\n", "a/b")


def test_a_release_makes_links_absolute():
    text = "[a](docs/a.md#b) ![p](docs/p.png) [c](https://x.y/z) [d](#here) `f[a](b: c)`"
    assert release.with_links(text, "o/n", "v1.0.0") == (
        "[a](https://github.com/o/n/blob/v1.0.0/docs/a.md#b) ![p](https://raw.githubusercontent.com/o/n/v1.0.0/docs/p.png)"
        " [c](https://x.y/z) [d](#here) `f[a](b: c)`"
    )
    readme = (ROOT / "README.md").read_text()
    assert release.LINK.search(readme) and not release.LINK.search(release.with_links(readme, "o/n", "v1.0.0"))


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("v1.2.0", []),
        ("v1.3.0", ["CHANGELOG.md has no section ## [1.3.0] with a date", "CITATION.cff does not say version: 1.3.0"]),
        ("1.2.0", ["the tag 1.2.0 is not of the form v1.2.3"]),
        ("v1.2.0rc1", ["the tag v1.2.0rc1 is not of the form v1.2.3"]),
    ],
)
def test_a_tag_must_be_named(tag, found):
    changelog = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-02\n"
    assert release.problems(tag, changelog, "title: mam\nversion: 1.2.0\ntype: software\n") == found


def test_the_script_refuses_before_it_writes():
    before = (ROOT / "pyproject.toml").read_text()
    command = [sys.executable, ROOT / "scripts" / "release.py", "nowhere", "v99.0.0"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 1 and "release.py: 'nowhere' is not of the form OWNER/NAME" in shown.stderr
    assert "release.py: CHANGELOG.md has no section ## [99.0.0]" in shown.stderr
    assert (ROOT / "pyproject.toml").read_text() == before


def test_messages_name_the_distribution():
    """`pip install mam` would install another project."""
    places = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    places += [path for folder in ("mam", "conf", "docs", "demo") for path in (ROOT / folder).rglob("*.*")]
    texts = {path: path.read_text() for path in places if path.suffix in (".py", ".md", ".yaml", ".ipynb")}
    assert any("pip install 'mam-bench[" in text for text in texts.values())
    assert [path for path, text in texts.items() if re.search(r"pip install '?mam\b(?!-)", text)] == []
