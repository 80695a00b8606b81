"""The pages work as they are written, with mam as it is installed; tables are up to date."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from support.pages import blocks, give
from support.plugins import forget_plugins
from support.runs import mam
from support.warm import program

from mam.interface import experiments

ROOT = Path(__file__).parents[1]
LONGEST = 30  # lines of a block
# What commands of a page print, as evidence that they did what the page says.
PAGES = {
    "plugins.md": {
        "mam run --config-dir conf model=itself data=corridor": "Δ WER +0.00 points: 0 of 4 utterances changed",
        "mam run --config-dir conf experiment=corridor": "4 runs: 4 finished now, 0 skipped, 0 failed",
        "mam run method=third lam=0.3 data.limit=3": "λ 0.3, by third",
    },
    "add-a-method.md": {
        "mam run plugins=[./mine.py] --multirun method=linear,midpoint lam=0.1 data.limit=3": "midpoint",
        "mam run plugins=[./layerwise.py] method=joint_norm lam=0.2 data.limit=3": "λ 0.2, by joint_norm",
        "mam run plugins=[./signs.py] control=random_signs data.limit=3": "merged λ=0.05 (random_signs)",
        "mam run plugins=[./energy.py,./mirror.py] align=energy pairing=mirrored lam=0.2 data.limit=3": (
            "aligned by energy"
        ),
        "mam run plugins=[./step.py] schedule=step schedule.center=2 lam=0.1 data.limit=3": (
            "λ by layer: 0:0 1:0 2:0.1 3:0.1"
        ),
        "mam run plugins=[./halving.py] tune=halving tune.evaluations=3 data.limit=3": (
            "tune    halving on dev: λ 0 chosen from 4 candidates"
        ),
    },
    "add-a-model.md": {
        "mam run --config-dir conf model=itself lam=0.5 data.limit=3": "Δ WER +0.00 points: 0 of 3 utterances changed",
        "mam inspect plugins=[./layoutlm.py] model.source=my-layoutlm": "changes 24 tensors, 198,144 parameters",
        "mam run plugins=[./unispeech_sat.py] model.target=my-unispeech-sat data.limit=3": "merged λ=0.05",
    },
    "add-a-data-set.md": {
        "mam run data=audiofolder data.root=recordings": "audio from path; text from sentence",
        "mam run data=audiofolder data.root=recordings data.split=all data.clusters=speaker": "data    4 examples",
        "mam run --config-dir conf data=corridor_tsv": "on corridor_tsv, test (2 examples)",
        "mam run plugins=[./corridor.py] data=corridor data.root=corridor data.clusters=speaker": (
            "on corridor, test (2 examples)"
        ),
    },
    "add-a-normalizer.md": {
        "mam run plugins=[./letters.py] data.normalizer=letters_only data.limit=3 outputs=letters": (
            "text    language English (en), normalizer letters_only"
        ),
        "mam report letters plugins=[./letters.py]": "letters/report/report.html",
        "mam run plugins=[./dotless.py] data.normalizer=turkish_lower data.limit=3": "normalizer turkish_lower",
    },
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_as_written(page, monkeypatch):
    give(page)
    printed, shown = "", {}
    for block in blocks(page):
        if block.file:
            assert len(block.text.splitlines()) <= LONGEST, block.file
            path = Path(block.file)
            assert not path.exists(), path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "text":
            missing = [line for line in block.text.splitlines() if line not in printed]
            assert not missing, printed
        elif block.language == "sh":
            for command in block.text.splitlines():
                printed = shown[command] = follow(command, monkeypatch)
    for command, expected in PAGES[page].items():
        assert expected in shown[command], shown[command]


def test_the_recordings_of_the_tutorial_are_made_and_run():
    """They are taken from the demo's own, so that everybody can follow."""
    pytest.importorskip("mam_demo")
    (block,) = [block for block in blocks("tutorial.md") if block.file == "take.py"]
    exec(compile(block.text, "take.py", "exec"), {"__name__": "__main__"})
    assert len(list(Path("recordings").glob("*.flac"))) == 60
    shown = mam("run", "data=audiofolder", "data.root=recordings", "data.split=all", "data.limit=5")
    assert shown.returncode == 0 and "on audiofolder, all (5 examples)" in shown.stdout, shown.stderr


def follow(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Do what a line of a page says, and return what it prints."""
    program, *words = shlex.split(command)
    if program == "pip":
        install(Path(words[-1]), monkeypatch)
        return ""
    assert program == "mam", command
    if "run/.hydra/own" in command:
        receive_a_run()
    shown = mam(*words)
    text = shown.stdout + shown.stderr
    is_wrong = "broken" in command or "taken" in command
    assert bool(shown.returncode) == is_wrong and "Traceback" not in text, f"{command}\n{text}"
    return text


def receive_a_run() -> None:
    """Make the folder ``run`` as the page says that somebody made it, and remove what it was made of."""
    page = " ".join((ROOT / "docs" / "plugins.md").read_text().split())
    made = re.search(r"the folder `run`, which was made with `([^`]+)`", page)
    assert made is not None
    words = [*made[1].split(), "outputs=sent"]
    mam("run", *words).check_returncode()
    (folder,) = Path("sent").glob("*/*")
    shutil.move(folder, "run")
    shutil.rmtree("conf")
    Path("mine.py").unlink()


def install(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package as pip does, but without the environment for building, for which pip needs a network."""
    content = tomllib.loads((package / "pyproject.toml").read_text())
    project, site = content["project"], Path("site-packages").resolve()
    for name in content["tool"]["setuptools"]["packages"]:
        shutil.copytree(package / name, site / name)
    info = site / f"{package.name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]
    groups = [
        f"[{group}]\n" + "".join(f"{key} = {place}\n" for key, place in points[group].items()) for group in points
    ]
    (info / "entry_points.txt").write_text("".join(groups))
    monkeypatch.setenv("PYTHONPATH", str(site))


def test_generated_tables_are_up_to_date():
    code = f"import runpy; runpy.run_path({str(ROOT / 'scripts' / 'tables.py')!r}, run_name='__main__')"
    shown = program(["--check"], code)
    assert shown.returncode == 0, shown.stdout


@pytest.fixture
def withdrawn():
    """What a page registers in this process is withdrawn after it."""
    yield
    forget_plugins()


@pytest.mark.usefixtures("withdrawn")
def test_the_page_on_python_works_as_written(capsys):
    """In one process, in order; a block of text after a block of Python is all that it prints."""
    names = {"__name__": "page"}
    shown, printing = "", 0
    for block in blocks("python.md"):
        if block.language == "text":
            assert shown == block.text
            printing += 1
            continue
        assert block.language == "python"
        if "mam.results(" in block.text and not hasattr(experiments, "results"):
            continue  # mam.results comes with the tables of runs
        capsys.readouterr()
        exec(compile(block.text, "python.md", "exec"), names)
        shown = capsys.readouterr().out
    assert printing > 4
