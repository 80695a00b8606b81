"""Other code is another question: what it computed before is neither skipped to, nor read, nor gone on from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import jobs, once, pair_words
from support.runs import mam as command

import mam
from mam import identity
from mam.errors import TrainingError
from mam.evaluation.workbench import Workbench
from mam.files import sha256_json
from mam.identity import Code, Commit, checkout, code_record, code_sha256
from mam.models.hub import HubTarget
from mam.report.collect import collect
from mam.report.page import write_report
from mam.runs.compare import compare
from mam.runs.export import export
from mam.runs.question import question_of
from mam.runs.rescore import rescore
from mam.studies.evidence import compared
from mam.training.fine_tune import ft_key
from mam.training.resumption import unfinished

PACKAGE = Path(mam.__file__).parent


def forget() -> None:
    identity.code_sha256.cache_clear()
    identity.checkout.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The sources as a copy elsewhere; called, it changes one of them, as in a new process."""
    copy = shutil.copytree(PACKAGE, tmp_path / "elsewhere" / "mam", ignore=shutil.ignore_patterns("conf"))
    monkeypatch.setattr(identity, "PACKAGE", copy)
    forget()

    def change() -> None:
        with (copy / "merging" / "methods.py").open("a") as file:
            file.write("# changed\n")
        forget()

    return change


def test_the_hash_is_of_every_source_by_name_and_content(tmp_path, monkeypatch):
    root = tmp_path / "mam"
    (root / "data").mkdir(parents=True)
    (root / "b.py").write_bytes(b"x = 1\n")
    (root / "data" / "a.csv").write_bytes(b"1,2\n")
    monkeypatch.setattr(identity, "PACKAGE", root)
    forget()
    by_hand = hashlib.sha256(b"b.py\x006\x00x = 1\ndata/a.csv\x004\x001,2\n").hexdigest()
    assert code_sha256() == by_hand

    def after(change: Callable[[], object]) -> str:
        change()
        forget()
        return code_sha256()

    for name in ("__pycache__/b.py", ".cache/d.py", "e.json", ".f.py"):
        (root / name).parent.mkdir(exist_ok=True)
        assert after((root / name).touch) == by_hand
    renamed = after(lambda: (root / "b.py").rename(root / "c.py"))
    edited = after(lambda: (root / "c.py").write_bytes(b"x = 2\n"))
    added = after((root / "data" / "__init__.py").touch)
    assert len({by_hand, renamed, edited, added}) == 4


def test_the_hash_does_not_depend_on_where_the_package_lies_and_is_quick(edit):
    elsewhere = code_sha256()
    forget()
    start = time.process_time()
    assert identity.tree_sha256(PACKAGE, identity.APART) == elsewhere
    assert time.process_time() - start < 0.25  # some 10 ms where nothing else runs
    edit()
    assert code_sha256() != elsewhere


def git(*words: object) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *map(str, words)], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """A checkout of something that calls itself mam."""
    root = tmp_path / "checkout"
    (root / "mam").mkdir(parents=True)
    (root / "mam" / "a.py").write_text("a = 1\n")
    (root / "README.md").write_text("mam\n")
    (root / "pyproject.toml").write_text('[project]\nname = "mam-bench"\n')
    git("init", "-q", root)
    git("-C", root, "add", ".")
    git("-C", root, "commit", "-q", "-m", "first")
    return root


def test_the_commit_of_a_checkout(cloned, tmp_path):
    head = git("-C", cloned, "rev-parse", "HEAD")

    def found(root: Path = cloned) -> Commit | None:
        forget()
        return checkout(root)

    assert found() == Commit(head, False)
    (cloned / "README.md").write_text("other\n")
    assert found() == Commit(head, False)  # no source
    (cloned / "mam" / "b.py").touch()
    assert found() == Commit(head, True)
    git("-C", cloned, "worktree", "add", "-q", tmp_path / "worktree")
    assert found(tmp_path / "worktree") == Commit(head, False)
    (cloned / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert found() is None  # another project's repository, into which mam was copied
    assert found(tmp_path) is None


def test_the_commit_without_git(cloned, tmp_path, monkeypatch):
    head = git("-C", cloned, "rev-parse", "HEAD")
    git("-C", cloned, "worktree", "add", "-q", tmp_path / "worktree")
    monkeypatch.setattr(identity.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert checkout(cloned) == checkout(tmp_path / "worktree") == Commit(head, None)
    monkeypatch.undo()
    git("-C", cloned, "pack-refs", "--all")
    monkeypatch.setenv("PATH", str(tmp_path))
    forget()
    assert checkout(cloned) == Commit(head, None)
    (cloned / ".git" / "HEAD").write_text("nonsense")
    forget()
    assert checkout(cloned) is None


def test_another_repository_in_the_environment_is_not_asked(cloned, tmp_path, monkeypatch):
    head = git("-C", cloned, "rev-parse", "HEAD")
    git("init", "-q", tmp_path / "users")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "users" / ".git"))
    monkeypatch.chdir(tmp_path / "users")
    assert checkout(cloned) == Commit(head, False)


def test_a_finished_run_is_made_again_by_other_code(words, edit):
    first = once(words)
    assert first.result.env.code == Code(code_sha256(), None, None) == code_record()
    assert once(words).status == "skipped"
    edit()
    again = once(words)
    assert (again.status, again.result.env.code.sha256) == ("finished", code_sha256())
    assert again.result.hash != first.result.hash and again.result.signature == first.result.signature
    assert once(words).folder == again.folder


def test_no_cache_serves_other_code(words, edit):
    """The unmerged target's predictions, states and decoded audio of other code are left where they lie."""
    cache = Path(os.environ["MAM_CACHE"])

    def kept() -> dict[str, set[str]]:
        return {kind.name: {path.name for path in kind.glob("[!.]*[!k]")} for kind in cache.iterdir() if kind.is_dir()}

    shared = [*words, "evaluate.share=true", "layers.spec=1-2"]
    once(shared)
    before = kept()
    assert set(before) == {"audio", "baselines", "states"} and all(before.values())
    once([*shared, "force=true"])
    assert kept() == before
    (lie,) = (cache / "baselines").glob("*.json")  # whoever read it would show it
    content = {"key": json.loads(lie.read_text())["key"], "items": ["LIE"] * 5, "seconds": 1.0}
    lie.write_text(json.dumps({"sha256": sha256_json(content), **content}))
    assert "LIE" in (once([*shared, "force=true"]).folder / "baseline.jsonl").read_text()
    edit()
    outcome = once(shared)
    assert "LIE" not in (outcome.folder / "baseline.jsonl").read_text()
    assert all(len(kept()[kind] - names) == len(names) for kind, names in before.items())


@pytest.fixture
def lesson(hubert_group, bert, tmp_path):
    splits = ["train"] * 4 + ["dev", "test"]
    root = write_folder(tmp_path / "taught", [0.6, 0.7, 0.8, 0.9, 1.0, 0.6], split=splits)
    steps = ["train.steps=2", "train.evaluate_every=1", "train.batch_size=2", "evaluate.draws=200"]
    words = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={root}", *steps]
    return [*words, "train=finetune", "lam=0"]


def test_an_unfinished_training_is_not_gone_on_from_with_other_code(lesson, edit, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(HubTarget, "save", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(TrainingError):
            once(lesson)
    (begun,) = Path("outputs/unfinished").glob("*/question.json")
    edit()
    with pytest.raises(
        TrainingError, match=r"other code\. code: mam's code has changed\n.*and mam's code of that time"
    ):
        once([*lesson, f"train.resume={begun.parent}"])
    assert once(lesson).status == "finished" and (begun.parent / "all" / "checkpoint-2").is_dir()


def test_ft_of_other_code_is_no_baseline(words, edit):
    bench = Workbench()
    (job,) = jobs(words)
    first = question_of(job.config, bench)
    edit()
    second = question_of(job.config, bench)
    assert first != second and ft_key(first) != ft_key(second)
    with unfinished(Path("outputs"), first, "auto") as one, unfinished(Path("outputs"), second, "auto") as other:
        assert one != other  # where searches for λ keep what they know


def test_reports_tell_codes_apart(words, edit, tmp_path):
    """By other code a run stands in a row of its own, and a source is paired with controls of its own code."""
    lam = [*words, "lam=0.4", "evaluate.draws=200"]
    first = once(lam)
    once([*lam, "control=shrink"])
    code = code_sha256()
    edit()
    second = once(lam)
    found = collect([Path("outputs")])
    (group,) = found.groups
    assert group.varied == ["lam", "control", "code"]
    assert sorted(run.traits["code"] for run in group.runs) == sorted([code[:8], code[:8], code_sha256()[:8]])
    (one,) = compared(group.merged())
    assert one.where == {"lam": "0.4", "code": code[:8]}
    page = write_report(found, tmp_path / "report").read_text()
    assert f"code {code}" in page and "{'sha256'" not in page
    assert (
        compare(first.folder, second.folder)
        .notes[0]
        .startswith("the two runs used different versions of mam's code, which may explain part of the difference")
    )
    assert compare(second.folder, second.folder).notes == ()
    (remark,) = export(first.folder, Path("exported"))
    assert (
        remark.startswith("merged with mam's current code, which differs from that of the run")
        and export(second.folder, Path("now")) == []
    )
    scored, _ = rescore(first.folder, None, "7")
    assert (scored.scored.code.sha256, scored.env.code.sha256) == (code_sha256(), code)


def test_results_of_before_are_read(words):
    outcome = once(words)
    path = outcome.folder / "result.json"
    result = json.loads(path.read_text())
    del result["env"]["code"]
    path.write_text(json.dumps(result))
    (run,) = collect([Path("outputs")]).runs
    assert run.traits["code"] == "not recorded"


def test_half_of_linear_merging_is_another_result(tmp_path):
    """The package run, copied, run, changed and run again, each time in a process of its own."""
    copy = tmp_path / "lib" / "mam"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("conf", "__pycache__"))
    (copy / "conf").symlink_to((PACKAGE / "conf").resolve())
    environment = os.environ | {"PYTHONPATH": str(copy.parent)}

    def shown(*words: str) -> str:
        command = [sys.executable, "-m", "mam", "run", "data.limit=2", "evaluate.draws=200", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    for lam in ("lam=0.5", "lam=0.25"):
        assert "skipped" not in command("run", "data.limit=2", "evaluate.draws=200", lam).stdout
    assert "skipped: this run has finished already, in" in shown("lam=0.5")  # a copy is the same code
    path = copy / "merging" / "methods.py"
    text = path.read_text()
    plain = "return target.lerp(source, lam)"
    assert text.count(plain) == 1
    path.write_text(text.replace(plain, "return target.lerp(source, 0.5 * lam)"))
    assert "skipped" not in shown("lam=0.5")
    folders = sorted(path.parent for path in Path("outputs").rglob("result.json"))
    codes = [json.loads((folder / "result.json").read_text())["env"]["code"]["sha256"] for folder in folders]
    whole, half, halved = ((folder / "attention.csv").read_text() for folder in folders)
    assert codes[0] == codes[1] != codes[2] and whole != half == halved
