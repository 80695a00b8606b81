"""The pages for contributors work as they are written, and generated tables are up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from support.audio import noise

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(New file|Append to) `(\S+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def follow(page: str, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of mam with the page's code in it, laid out as in a wheel; and the page's commands."""
    shutil.copytree(ROOT / "mam", tmp_path / "mam", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "mam" / "conf", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "docs" / page).read_text()
    steps = BLOCK.findall(text)
    assert steps and all(len(code.splitlines()) <= 30 for _, _, code in steps)
    for what, name, code in steps:
        path = tmp_path / re.sub(r"^conf/", "mam/conf/", name)
        assert path.exists() == (what == "Append to"), name
        with path.open("a") as file:
            file.write(code)
    return tmp_path, [line for block in COMMAND.findall(text) for line in block.strip().splitlines()]


@pytest.mark.parametrize("page", ["add-a-normalizer.md", "add-a-data-set.md", "add-a-model.md", "add-a-method.md"])
def test_a_contributors_page_works_as_written(page, tmp_path):
    place, commands = follow(page, tmp_path)
    Path("recordings").mkdir()
    for i in range(2):
        soundfile.write(f"recordings/{i}.wav", noise(0.5, i), 16000)
        Path(f"recordings/{i}.txt").write_text("some words")
    assert commands
    for command in commands:
        assert command.startswith("mam ")
        shown = subprocess.run(
            [sys.executable, "-m", *command.split()],
            env=os.environ | {"PYTHONPATH": str(place)},
            capture_output=True,
            text=True,
        )
        assert shown.returncode == 0, shown.stderr
        assert "baseline λ=0" in shown.stdout


def test_what_the_page_on_models_registers_is_there(tmp_path):
    place, _ = follow("add-a-model.md", tmp_path)
    code = "from mam.models.sources import SOURCES; from mam.models.targets import TARGETS; import mam\n"
    code += "assert 'layoutlm' in SOURCES; print(TARGETS['unispeech-sat'].architecture('text').__name__, mam.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(place)}, capture_output=True, text=True
    )
    assert shown.stdout.split() == ["UniSpeechSatForCTC", str(place / "mam" / "__init__.py")], shown.stderr


def test_generated_tables_are_up_to_date():
    shown = subprocess.run([sys.executable, ROOT / "scripts" / "tables.py", "--check"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout


def test_links_in_the_pages_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
