"""Plug-ins: loading, what they register, identity, records, workers, and every way in which one can be broken."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from support.plugins import HALF, forget_plugins, plugin
from support.runs import mam, once
from support.warm import program

import mam as package
from mam import extensions
from mam.config.compose import jobs
from mam.config.schema import code_of
from mam.config.search import split_search
from mam.errors import ConfigError, MamError
from mam.evaluation.workbench import Workbench
from mam.extensions import in_use, use
from mam.merging.tables import METHODS
from mam.records.reading import read_config, read_predictions, read_result
from mam.registry import code_sha256
from mam.runs.question import question_of
from mam.runs.rescore import rescore
from mam.runs.run import run

QUICK = ["data.limit=2", "evaluate.draws=100"]


@pytest.fixture(autouse=True)
def no_plugins():
    """No test leaves a plug-in."""
    yield
    forget_plugins()


def test_a_file_registers_and_rests_where_it_is_not_named():
    plugin(HALF)
    (loaded,) = use(["./mine.py"])
    assert (loaded.name, loaded.place, loaded.version) == ("./mine.py", str(Path("mine.py").resolve()), None)
    assert METHODS["half"].summary == "Half of MAM."
    assert use([]) == () and "half" not in METHODS
    assert use(["mine.py"]) == (loaded,) and "half" in METHODS  # another spelling of the same file


def test_a_changed_file_is_loaded_again():
    path = plugin(HALF)
    (first,) = use(["./mine.py"])
    path.write_text(HALF.replace("half", "third"))
    (second,) = use(["./mine.py"])
    assert first.sha256 != second.sha256 and "third" in METHODS and "half" not in METHODS


def test_a_folder_with_several_files():
    plugin("from . import methods\n", "own/__init__.py")
    plugin(
        HALF.replace("lam / 2", "lam / PARTS").replace("@method", "from .numbers_ import PARTS\n\n@method"),
        "own/methods.py",
    )
    plugin("PARTS = 4\n", "own/numbers_.py")
    (first,) = use(["./own"])
    assert "half" in METHODS and sorted(first.sources) == ["own/__init__.py", "own/methods.py", "own/numbers_.py"]
    plugin("PARTS = 8\n", "own/numbers_.py")
    assert use(["./own"])[0].sha256 != first.sha256


def test_a_module_and_an_entry_point(monkeypatch):
    plugin("", "mypackage/__init__.py")
    plugin(HALF, "mypackage/methods.py")
    plugin(HALF.replace("half", "third"), "entry.py")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    for name in ("mypackage", "mypackage.methods", "entry"):
        sys.modules.pop(name, None)
    assert [entry.name for entry in use(["mypackage.methods"])] == ["mypackage.methods"]
    info = Path("entry-1.0.dist-info")  # as pip makes it
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: entry\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{extensions.GROUP}]\nthird = entry\n")
    loaded = use(["mypackage.methods"])
    assert [entry.name for entry in loaded] == ["third", "mypackage.methods"]
    assert {"half", "third"} <= set(METHODS)
    assert loaded[1].place == str(Path("mypackage").resolve())  # what the module imports counts too
    for name in ("mypackage", "mypackage.methods", "entry"):
        sys.modules.pop(name)


def test_an_entry_point_where_the_backport_of_importlib_metadata_finds_it():
    """Imported by mlflow, for one, it puts its finder and its classes in the place of Python's."""
    pytest.importorskip("importlib_metadata")
    plugin(HALF, "entry.py")
    Path("entry-1.0.dist-info").mkdir()
    Path("entry-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: entry\nVersion: 1.0\n")
    Path("entry-1.0.dist-info/entry_points.txt").write_text(f"[{extensions.GROUP}]\nhalf = entry\n")
    code = "import importlib_metadata; from mam.extensions import use; print([one.name for one in use([])])"
    done = program([], f"import sys; sys.path.insert(0, '.'); {code}")
    assert (done.stdout, done.returncode) == ("['half']\n", 0), done.stderr


def test_the_source_is_part_of_a_runs_identity():
    path = plugin(HALF)
    words = ["plugins=[./mine.py]", "lam=0.2", "method=half", *QUICK]
    first = once(words)
    assert once(words).status == "skipped"
    shutil.copy(path, "renamed.py")
    assert once(["plugins=[./renamed.py]", *words[1:]]).folder == first.folder  # the same code by another name
    path.write_text(HALF + "# changed\n")
    assert once(words).status == "finished"


def test_a_plugin_that_is_not_named_does_not_count():
    plain = once(["lam=0.2", *QUICK])
    plugin(HALF)
    once(["plugins=[./mine.py]", "lam=0.2", "method=half", *QUICK])
    assert once(["lam=0.2", *QUICK]).folder == plain.folder
    with pytest.raises(ConfigError, match="method=half: not known"):
        jobs(["method=half"])


def test_a_methods_numbers_are_its_own():
    plugin(HALF)
    half = once(["plugins=[./mine.py]", "lam=0.4", "method=half", "data.limit=20"])
    whole = once(["lam=0.2", "data.limit=20"])
    assert read_predictions(half.folder)[0] == read_predictions(whole.folder)[0]
    assert half.result.merge.method == "half"


def test_what_a_run_records():
    plugin(HALF)
    made = once(["plugins=[./mine.py]", "lam=0.2", "method=half", *QUICK])
    (recorded,) = made.result.extensions.plugins
    assert (recorded.name, recorded.sha256) == ("./mine.py", use(["./mine.py"])[0].sha256)
    assert made.result.extensions.configs == []
    assert (made.folder / ".hydra" / "plugins" / "mine.py").read_text() == HALF
    assert "'plugins=[./mine.py]'" in made.result.command
    plain = once(["lam=0.2", *QUICK])
    assert plain.result.extensions is None and "extensions" not in json.loads(
        (plain.folder / "result.json").read_text()
    )


def test_a_run_can_be_read_where_its_plugin_is_not():
    plugin(HALF)
    made = once(["plugins=[./mine.py]", "lam=0.2", "method=half", *QUICK])
    once(["lam=0.2", *QUICK])
    use([])
    assert read_result(made.folder).merge.method == "half"
    assert read_config(made.folder).plugins == ["./mine.py"]  # read, and not run
    assert in_use() == ()
    shown = mam("report", "outputs")
    assert shown.returncode == 0 and "half" in shown.stdout, shown.stderr


def test_a_normalizer_of_a_plugin_is_needed_to_compare_texts():
    plugin("from mam.plugins import normalizer\n@normalizer\ndef shout(text):\n    return text.upper()\n")
    made = once(["plugins=[./mine.py]", "data.normalizer=shout", *QUICK])
    use([])
    with pytest.raises(MamError, match=r"has normalizer=shout, .* Set plugins=\[...\] with ./mine.py"):
        rescore(made.folder, None, "3")
    shown = mam("score", made.folder, "seed=3", "plugins=[./mine.py]")
    assert shown.returncode == 0 and "normalizer shout" in shown.stdout, shown.stderr
    shown = mam("ls")
    assert "0 finished runs" in shown.stdout and "Set plugins=[...] with ./mine.py" in shown.stdout
    assert "1 finished run in outputs" in mam("ls", "plugins=[./mine.py]").stdout
    assert "Set plugins=[...] with ./mine.py" in mam("push", made.folder, "me/x").stderr
    assert Path("pushed/me/x/README.md").exists() is False
    assert (
        "the export was written and its model card is valid: pushed/me/x"
        in mam("push", made.folder, "me/x", "plugins=[./mine.py]").stdout
    )


def test_a_changed_plugin_scores_again_into_another_file():
    shout = "from mam.plugins import normalizer\n@normalizer\ndef shout(text):\n    return text.upper()\n"
    plugin(shout)
    made = once(["plugins=[./mine.py]", "data.normalizer=shout", *QUICK])
    result, path = rescore(made.folder, None, None)
    (record,) = result.scored.plugins
    assert (record.name, record.sha256) == ("./mine.py", use(["./mine.py"])[0].sha256)
    assert json.loads(path.read_text())["scored"]["plugins"] == [{"name": "./mine.py", "sha256": record.sha256}]
    assert rescore(made.folder, None, None) == (result, path)
    plugin(shout.replace("text.upper()", "'same'"))
    use(["./mine.py"])
    again, other = rescore(made.folder, None, None)
    assert other != path and other.name.startswith(f"score-shout-seed{again.seeds.bootstrap}-")
    assert again.rate == 0 and result.rate > 0 and again.scored.plugins[0].sha256 != record.sha256


def test_a_plugin_in_an_experiment_of_ones_own():
    plugin(HALF)
    plugin("# @package _global_\nplugins: [./mine.py]\nmethod: { name: half }\n", "mam_conf/experiment/own.yaml")
    shown = mam("run", "experiment=own", *QUICK)
    assert shown.returncode == 0 and "by half" in shown.stdout, shown.stderr


def test_workers_load_it_and_find_own_configurations():
    plugin(HALF)
    plugin("name: own\ntask: asr\ntarget: asset:demo_hubert\nsource: asset:demo_bert\n", "conf/model/own.yaml")
    shown = mam(
        "run", "--config-dir=conf", "model=own", "--multirun", "plugins=[./mine.py]", "method=linear,half", "lam=0.2",
        "control=none", "hydra/launcher=joblib", *QUICK,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    results = [json.loads(path.read_text()) for path in Path("outputs").rglob("result.json")]
    assert sorted(result["merge"]["method"] for result in results) == ["half", "linear"]
    assert {result["model"]["name"] for result in results} == {"own"}


def test_code_of_a_session_counts_where_it_is_used():
    def lower(text: str) -> str:
        """Lower case."""
        return text.lower()

    plain, bench = jobs([*QUICK]).jobs[0], Workbench()
    before = question_of(plain.config, bench)
    package.plugins.normalizer(lower)
    assert question_of(plain.config, bench) == before
    (job,) = jobs(["data.normalizer=lower", *QUICK]).jobs
    (code,) = code_of(job.config)
    assert (code.name, code.place) == ("normalizer=lower", extensions.SESSION)
    assert question_of(job.config, bench)["plugins"] == [code.sha256]
    assert run(job, bench).result.extensions.plugins[0].name == "normalizer=lower"


def test_an_edit_that_breaks_and_one_that_undoes_it():
    path = plugin(HALF)
    use(["./mine.py"])
    path.write_text("def x(:")
    with pytest.raises(ConfigError):
        use(["./mine.py"])
    path.write_text(HALF)
    use(["./mine.py"])
    assert "half" in METHODS


def test_code_of_a_session_counts_with_what_it_reads():
    """A global, a helper, and a variable of an outer function; and nothing else."""
    namespace = {"__name__": "cell", "STRENGTH": 2, "OTHER": 1}
    exec(
        "def helper(x): return x / STRENGTH\n"
        "def made(k):\n    def low(text):\n        return [text for _ in 'a' if helper(k)][0]\n    return low\n",
        namespace,
    )
    hashes = []
    for change in ({}, {"OTHER": 5}, {"STRENGTH": 3}, {"helper": lambda x: x}):
        namespace.update(change)
        hashes.append(code_sha256(namespace["made"](1)))
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3
    assert code_sha256(namespace["made"](2)) != hashes[3]


def test_copies_of_files_of_one_name():
    plugin(HALF, "a/mine.py")
    plugin(HALF.replace("half", "third"), "b/mine.py")
    made = once(["plugins=[a/mine.py,b/mine.py]", "method=third", *QUICK])
    copies = sorted((made.folder / ".hydra" / "plugins").rglob("mine.py"))
    assert len(copies) == 2 and {copy.read_text() for copy in copies} == {HALF, HALF.replace("half", "third")}


def test_everything_in_a_folder_of_sources_counts():
    plugin(HALF, "own/__init__.py")
    plugin("X = 1", "own/conf/extra.py")
    first = use(["./own"])[0].sha256
    plugin("X = 2", "own/conf/extra.py")
    assert use(["./own"])[0].sha256 != first


def test_an_experiment_selects_what_its_plugin_registers():
    plugin(HALF)
    text = "# @package _global_\ndefaults:\n  - override /method: half\nplugins: [./mine.py]\n"
    plugin(text, "mam_conf/experiment/own.yaml")
    search, words = split_search(["experiment=own", *QUICK])
    assert jobs(words, search=search).jobs[0].config.method.name == "half"


def test_a_sweep_over_experiments_with_other_plugins():
    plugin(HALF)
    plugin(HALF.replace("half", "third"), "other.py")
    for name, file, method in (("f", "mine.py", "half"), ("g", "other.py", "third")):
        text = f"# @package _global_\nplugins: [./{file}]\nmethod: {{ name: {method} }}\n"
        plugin(text, f"mam_conf/experiment/{name}.yaml")
    search, words = split_search(["experiment=f,g", *QUICK])
    with pytest.raises(ConfigError, match="plugins: the runs of this sweep have different plug-ins"):
        jobs(words, True, search)


def test_workers_do_not_know_code_of_a_session():
    def lower(text: str) -> str:
        return text.lower()

    package.plugins.normalizer(lower)
    with pytest.raises(MamError, match="hydra/launcher=joblib: starts other processes, .*=lower"):
        package.sweep("hydra/launcher=joblib", lam=[0, 0.1], data={"normalizer": "lower", "limit": 2})
