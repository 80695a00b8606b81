"""The ways through the code that CONTRIBUTING.md describes exist: every file, and every name in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
# `runs/run.py: run`, `data/store.py: AudioStore.checked`; a line of the text may end after the colon
PLACES = re.findall(r"`((?:\w+/)+\w+\.(?:py|yaml))(?::\s+([\w.]+))?`", TEXT)


def test_there_are_places():
    assert len(PLACES) > 20


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_every_place_exists(file, name):
    path = next((root / file for root in (ROOT / "mam", ROOT) if (root / file).is_file()), None)
    assert path is not None, file
    for part in filter(None, name.split(".")):
        assert re.search(rf"(?m)^ *(?:class|def) {part}\b|^{part}\b", path.read_text()), f"{file} has no {part}"


def test_the_way_of_lambda_has_eight_stops():
    way = TEXT.split("**The path of λ**")[1].split("**The path of a recording**")[0]
    assert re.findall(r"(?m)^(\d+)\. ", way) == [str(number) for number in range(1, 9)]
