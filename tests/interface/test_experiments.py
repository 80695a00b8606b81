"""Experiments from Python: results, equal runs, sweeps and studies, errors, and what a notebook finds unchanged."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from support.runs import data_words, pair_words
from support.runs import mam as command

import mam
from mam.records.reading import read_result

QUICK = {"data": {"limit": 4}, "evaluate": {"draws": 100}}


def test_a_run_is_what_the_command_line_makes(capfd):
    result = mam.run("lam=0.3", layers="top2", **QUICK)
    assert capfd.readouterr() == ("", "")
    assert isinstance(result, mam.RunResult) and result.merge.lam == [0, 0, 0.3, 0.3]
    again = command("run", "lam=0.3", "layers=top2", "data.limit=4", "evaluate.draws=100")
    assert "skipped: this run has finished already, in" in again.stdout
    loaded = mam.load_result(result.folder)
    assert loaded == result and loaded.folder == result.folder
    assert mam.run(lam=0.3, layers="top2", **QUICK).folder == result.folder
    assert str(result).startswith(f"demo_hubert_bert on demo_speech, merged λ=0.3: WER {100 * result.rate:.2f} %")


def test_a_sweep_in_the_order_of_its_plan(capfd):
    results = mam.sweep(lam=[0.1, 0.3], **QUICK)
    assert capfd.readouterr() == ("", "")
    made = [(result.merge.lam[0], result.merge.control) for result in results]
    assert made == [(0, "none"), (0.1, "none"), (0.1, "shrink"), (0.3, "none"), (0.3, "shrink")]
    folder = results[1].folder.parent
    assert (folder / "sweep.json").is_file() or list(folder.glob("*.json"))
    assert [result.hash for result in mam.sweep(lam=[0.1, 0.3], **QUICK)] == [result.hash for result in results]


def test_a_study():
    axes = {"lam": [0.1], "parts": ["q", "v"]}
    results = mam.sweep(study={"name": "mine", "axes": axes}, control="none", **QUICK)
    assert [result.merge.parts for result in results] == ["q", "v"]
    assert (results[0].folder.parent / "study.json").is_file()


def test_an_experiment_that_is_no_study_takes_several_values():
    Path("conf/experiment").mkdir(parents=True)
    Path("conf/experiment/few.yaml").write_text("# @package _global_\ndata: { limit: 4 }\nevaluate: { draws: 100 }\n")
    results = mam.sweep("experiment=few", lam=[0, 0.1], control="none", config_dir="conf")
    assert [(result.merge.lam[0], result.data.n) for result in results] == [(0, 4), (0.1, 4)]
    with pytest.raises(mam.MamError, match="(?s)5 of 5 runs failed.*hubert-large-ls960-ft: is not a folder here"):
        mam.sweep("experiment=zero_shot_ljspeech", lam=[0.1, 0.2])


def test_what_a_pair_does_not_allow_is_named(whisper, minilm, clips):
    pair = ["model=whisper_minilm", *pair_words(whisper, minilm, 8), *data_words(clips), "lam=0.2", "control=none"]
    results = mam.sweep(*pair, align=["none", "heads"])
    assert [result.merge.align for result in results] == ["none"] and isinstance(results, list)
    (reason,) = results.left_out
    assert reason.startswith(
        "align=heads: align=heads: needs equally many heads, but the target has 4 heads and the source 8"
    )
    with pytest.raises(
        mam.MamError,
        match="there is nothing to run: this pair of models allows none of the 1 runs. .*needs equally many heads",
    ):
        mam.sweep(*pair, align=["heads"])


def test_ones_own_configurations_and_code():
    Path("conf/data").mkdir(parents=True)
    Path("conf/data/own.yaml").write_text("name: own\nformat: audiofolder\nroot: asset:demo_speech\nlanguage: en\n")
    code = "from mam.plugins import method\n@method\ndef same(target, source, lam):\n    return target\n"
    Path("mine.py").write_text(code)
    result = mam.run(data="own", method="same", plugins=["./mine.py"], config_dir="conf", lam=0.9, **_limit(3))
    assert result.delta.absolute == 0 and result.data.name == "own"
    assert [file.name for file in result.extensions.configs] == ["data/own"]


def _limit(n: int) -> dict[str, int]:
    return {"data.limit": n}


@pytest.mark.parametrize(
    ("words", "options", "kind", "message"),
    [
        (["lam=2"], {}, mam.ConfigError, "lam=2.0: must be from 0 to 1"),
        ([], {"lam": [0.1, 0.2]}, mam.ConfigError, r"lam: takes one value. Use mam.sweep\(...\)"),
        (["experiment=controls"], {}, mam.ConfigError, r"controls is a study of several runs. Use mam.sweep"),
        (["hello"], {}, mam.ConfigError, "'hello': not of the form 'key=value'"),
        (["nothing=3"], {"seed": -1}, mam.ConfigError, "nothing: there is no such key"),
        ([], {"plugins": ["./none.py"]}, mam.ConfigError, "there is no file"),
        (["hydra/launcher=joblib"], {}, mam.ConfigError, "needs several runs. Add --multirun, or choose an experiment"),
        ([], {"data": "audiofolder", "data.root": "nowhere"}, mam.DataError, "there is no such folder"),
        ([], {"model.target": "nowhere/at_all"}, mam.CheckpointError, "nowhere/at_all"),
    ],
)
def test_errors(words, options, kind, message):
    with pytest.raises(kind, match=message):
        mam.run(*words, **options)
    assert issubclass(kind, mam.MamError)


def test_a_sweep_with_failures_names_them_and_keeps_the_rest():
    Path("mine.py").write_text(
        "from mam.plugins import method\n@method\ndef cut(target, source, lam):\n    return target[:1]\n"
    )
    with pytest.raises(mam.MamError, match="2 of 4 runs failed; the others finished") as caught:
        mam.sweep(method=["linear", "cut"], lam=0.1, plugins=["./mine.py"], **QUICK)
    assert "method=cut control=shrink: layer 0, q: method=cut control=shrink returns a weight of" in str(caught.value)
    assert len(list(Path("outputs").rglob("result.json"))) == 2


def test_a_table_of_results():
    made = mam.sweep(lam=[0.1, 0.3], control="none", **QUICK)
    frame = mam.results("outputs")
    assert len(frame) == 3 and set(frame["hash"]) == {result.hash for result in made}
    row = frame[frame["lam"] == 0.3].iloc[0]
    assert row["delta"] == made[2].delta.absolute and row["baseline"] == made[0].baseline_rate
    assert frame.attrs["left_out"] == []
    with pytest.raises(mam.RecordError, match="nowhere"):
        mam.results("nowhere")


def test_a_run_of_a_plugins_normalizer_is_read_with_the_plugin():
    code = "from mam.plugins import normalizer\n@normalizer\ndef shout(text):\n    return text.upper()\n"
    Path("mine.py").write_text(code)
    named = ["./mine.py"]
    made = mam.run(**QUICK | {"data.normalizer": "shout"}, plugins=named)
    with pytest.raises(mam.RecordError, match=r"Set plugins=\[...\] with ./mine.py"):
        mam.load_result(made.folder)
    assert mam.load_result(made.folder, plugins=named) == made
    assert len(mam.results(plugins=named)) == 1
    frame = mam.results()
    assert len(frame) == 0 and "Set plugins=[...] with ./mine.py" in frame.attrs["left_out"][0]
    for wrong in ("./mine.py", None, [3], 3):
        with pytest.raises(mam.ConfigError, match="plugins: .* is not a list of names"):
            mam.load_result(made.folder, plugins=wrong)
    with pytest.raises(mam.ConfigError, match="there is no file"):
        mam.results(plugins=["./none.py"])


def test_load_result_of_something_else():
    with pytest.raises(mam.RecordError, match="nowhere: is not a finished run"):
        mam.load_result("nowhere")


def test_another_program_of_hydras_is_not_disturbed():
    with initialize_config_module("mam.conf", version_base="1.3"):
        own = GlobalHydra.instance().hydra
        mam.run(lam=0.1, **QUICK)
        assert GlobalHydra.instance().hydra is own
        assert compose("config", ["lam=0.7"]).lam == 0.7


def test_settings_of_libraries_are_restored(capfd):
    """A handler that the user set up is there afterwards, and prints nothing of the run."""
    handler = logging.StreamHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        expected = random.random(), np.random.rand(), torch.rand(1).item()
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        before = root.level, logging.lastResort, list(root.handlers), torch.get_num_threads()
        mam.run(lam=0.2, train="lmam", threads=1, **QUICK | {"train.steps": 2, "train.evaluate_every": 1})
        assert (root.level, logging.lastResort, list(root.handlers), torch.get_num_threads()) == before
        assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
        assert capfd.readouterr() == ("", "")
        logging.getLogger("theirs").warning("still said")
        assert capfd.readouterr().err == "still said\n"
    finally:
        root.removeHandler(handler)


def test_importing_mam_is_quick_and_names_are_complete():
    import subprocess
    import sys

    def printed(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", f"import mam, sys; print({code})"], capture_output=True, text=True
        ).stdout

    assert printed("'torch' in sys.modules, [n for n in mam.__all__ if n not in dir(mam)]") == "False []\n"
    assert printed("mam.plugins.method.__name__") == "method\n"
    assert all(getattr(mam, name) is not None for name in mam.__all__)
    assert all(getattr(mam.plugins, name) is not None for name in mam.plugins.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mam.nothing


def test_a_result_is_read_like_the_file():
    result = mam.run(lam=0.3, **QUICK)
    assert read_result(result.folder).metrics == result.metrics
