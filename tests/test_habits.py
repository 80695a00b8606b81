"""Workflows, hooks, forms and containers name what exists: make targets, scripts, files, versions."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(path.name for path in (GITHUB / "workflows").iterdir())
FORMS = ("bug.yml", "feature.yml", "wrong-number.yml")
RULES = re.findall(r"(?m)^([a-z-]+(?: [a-z-]+)*):(?!.*:=)", (ROOT / "Makefile").read_text())
TARGETS = {name for rule in RULES for name in rule.split()}
CONSTRAINTS = dict(line.split("==") for line in (ROOT / ".ci" / "constraints.txt").read_text().split())


def workflow(name: str) -> dict:
    return yaml.safe_load((GITHUB / "workflows" / name).read_text())


def steps(name: str) -> list[dict]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def test_there_are_workflows():
    assert WORKFLOWS == ["docs.yml", "release.yml", "tests.yml"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_names_what_exists(name):
    commands = "\n".join(step.get("run", "") for step in steps(name))
    made = set(re.findall(r"\bmake ([a-z-]+)", commands))
    assert made <= TARGETS and (made or name == "release.yml")
    for script in re.findall(r"\bscripts/[\w./]+", commands):
        assert (ROOT / script).is_file(), script
    for step in steps(name):
        assert ("uses" in step) != ("run" in step), step


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_and_rights_are_named(name):
    """By the tag of a major version, or of the branch that an action's own documentation names."""
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), step
    content = workflow(name)
    assert "permissions" in content
    assert all("timeout-minutes" in job and "runs-on" in job for job in content["jobs"].values())


def test_every_python_that_mam_admits_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = workflow("tests.yml")["jobs"]["check"]["strategy"]["matrix"]["python"]
    named = [name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert tested == named
    assert project["requires-python"].startswith(f">={tested[0]},<3.{int(tested[-1][2:]) + 1}")
    versions = (ROOT / "scripts" / "versions.sh").read_text()
    assert f"for version in {' '.join(tested)}; do" in versions and "tested oldest" in versions


def test_versions_runs_what_only_names():
    """With ONLY=none it has nothing to do, and makes no environment."""
    command = [ROOT / "scripts" / "versions.sh", "environments"]
    shown = subprocess.run(command, env={"ONLY": "none", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (0, "") and not (ROOT / "environments").exists()


def test_a_release_publishes_what_is_built():
    jobs = workflow("release.yml")["jobs"]
    patterns = [entry["files"] for entry in jobs["publish"]["strategy"]["matrix"]["include"]]
    for name, wanted in (("mam_bench-1.0.tar.gz", "mam_bench-*"), ("mam_bench_demo-1.0.tar.gz", "mam_bench_demo-*")):
        assert [pattern for pattern in patterns if fnmatch.fnmatch(name, pattern)] == [wanted]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


def test_hooks_have_the_versions_of_ci():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pins = {pin for hook in hooks for pin in hook.get("additional_dependencies", ())}
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in pins)
    assert {pin for pin in pins if pin.startswith("ruff")} == {f"ruff=={CONSTRAINTS['ruff']}"}
    assert {hook["language"] for hook in hooks if hook["id"] == "mypy"} == {"system"}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_asks_for_what_is_needed(name):
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / name).read_text())
    fields = {entry["id"]: entry["attributes"] for entry in form["body"]}
    assert len(fields) == len(form["body"]) and form["name"] and form["description"]
    assert {"version", "command"} <= set(fields) and "mam --version" in fields["version"]["description"]
    assert any("result.json" in entry["label"] for entry in fields.values())


COPY = re.compile(r"(?m)^COPY (.+)$")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_is_built_from_files_that_exist_and_are_sent():
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for line in COPY.findall(DOCKERFILE) for source in shlex.split(line)[:-1]]
    assert sorted(set(copied)) == sorted(sent)
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_has_defaults_a_user_a_volume_and_an_entry():
    for line in re.findall(r"(?m)^ARG (.+)$", DOCKERFILE):
        assert re.fullmatch(r"\w+=\S+", line), line
    assert "\nUSER ${UID}\n" in DOCKERFILE and '\nENTRYPOINT ["mam"]\n' in DOCKERFILE
    (volume,) = json.loads(re.search(r"(?m)^VOLUME (.+)$", DOCKERFILE)[1])
    assert f"MAM_CACHE={volume}/" in DOCKERFILE and f"HF_HOME={volume}/" in DOCKERFILE
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r'"/src\[(.+)\]"', DOCKERFILE)[1].split(",")) <= set(extras)
    fallback = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools_scm"]["fallback_version"]
    assert f"\nARG VERSION={fallback}\n" in DOCKERFILE


def test_the_development_container_makes_what_make_does():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert re.match(r"make (\w+) ", content["postCreateCommand"])[1] in TARGETS
    assert content["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"].endswith(".venv/bin/python")


@pytest.mark.parametrize("path", ["a.png", "demo/mam_demo/demo_hubert/model.safetensors", "x.flac", "x.pt"])
def test_git_leaves_binary_files_alone(path):
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git")
    shown = subprocess.run(["git", "check-attr", "text", "--", path], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.strip().endswith("text: unset")
