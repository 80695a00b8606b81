"""What the wheels of mam-bench and mam-bench-demo hold, and that they run away from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from mam.files import assets

ROOT = Path(__file__).parents[1]
LARGEST = 5_000_000  # bytes of a wheel of mam-bench
REMEDY = "pip install 'mam-bench[demo]'"


def settings(folder: str = ".") -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_in_the_wheel():
    """An editable install finds what the list of packages forgot; a wheel does not."""
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "mam").rglob("__init__.py")}
    assert set(settings()["packages"]) == found | {"mam.conf"}


def test_what_the_wheel_takes_is_small():
    """Before compression; the demo's models and recordings belong to the other distribution."""
    data = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "mam").rglob("*.py")]
    for pattern in settings()["package-data"]["mam"]:
        matched = list((ROOT / "mam").glob(pattern))
        assert matched, pattern
        data += matched
    assert sum(path.stat().st_size for path in data) < LARGEST
    others = {path.suffix for path in (ROOT / "mam").rglob("*.*") if path.is_file()} - {".py", ".pyc"}
    assert others == {".typed", ".json", ".j2", ".csv"}


def test_the_demo_package_holds_data_alone():
    assert settings("demo")["packages"] == ["mam_demo"]
    assert [path.name for path in (ROOT / "demo").rglob("*.py")] == ["__init__.py"]
    assert assets() == ROOT / "demo" / "mam_demo"
    assert tomllib.loads((ROOT / "demo" / "pyproject.toml").read_text())["project"]["dependencies"] == []


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("dist")
    for source in (ROOT, ROOT / "demo"):
        subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, source], check=True)
    (bench,) = folder.glob("mam_bench-*.whl")
    (demo,) = folder.glob("mam_bench_demo-*.whl")
    return bench, demo


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_the_wheels_hold_what_they_should(wheels):
    bench, demo = wheels
    assert bench.stat().st_size <= LARGEST
    wanted = {"mam/py.typed", "mam/conf/config.yaml", "mam/conf/data/demo_speech.yaml"}
    wanted |= {"mam/records/result.schema.json", "mam/report/page.html.j2"}
    assert wanted <= names(bench)
    assert {name.partition("/")[0].partition("-")[0] for name in names(bench)} == {"mam", "mam_bench"}
    bundled = {
        path.relative_to(ROOT / "demo").as_posix()
        for path in assets().rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names(demo) if ".dist-info/" not in name} == bundled
    assert any(name.endswith("licenses/LICENSE") for name in names(demo))
    assert bench.name.split("-")[1] == demo.name.split("-")[1], "the distributions share a version"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with what mam depends on, but without mam."""
    venv.create(tmp_path / "env", with_pip=True)
    (path,) = (tmp_path / "env").glob("lib/python*/site-packages")
    others = {sysconfig.get_path("purelib"), *(entry for entry in sys.path if entry.endswith("site-packages"))}
    (path / "others.pth").write_text("".join(f"{entry}\n" for entry in sorted(others)))
    return tmp_path / "env" / "bin"


@pytest.mark.slow
def test_mam_without_the_demo_says_what_to_install(wheels, environment):
    bench, demo = wheels
    install = [environment / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, bench], check=True)
    alone = subprocess.run([environment / "mam", "run"], capture_output=True, text=True)
    assert alone.returncode == 1 and REMEDY in alone.stderr and "Traceback" not in alone.stderr
    subprocess.run([*install, demo], check=True)
    both = subprocess.run([environment / "mam", "run"], capture_output=True, text=True, check=True)
    assert "baseline λ=0" in both.stdout and list(Path("outputs").rglob("result.json"))


@pytest.mark.slow
def test_the_wheels_run_in_an_empty_environment(wheels, tmp_path):
    """With the dependencies that the wheel names, downloaded."""
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    constraints = {"PIP_CONSTRAINT": str(ROOT / ".ci" / "constraints.txt")}
    subprocess.run([binaries / "pip", "install", "--quiet", *wheels], check=True, env=os.environ | constraints)
    shown = subprocess.run([binaries / "mam", "run"], capture_output=True, text=True, check=True)
    assert "baseline λ=0" in shown.stdout and list(Path("outputs").rglob("result.json"))
    subprocess.run([binaries / "mam", "run", "--cfg", "job"], check=True)
