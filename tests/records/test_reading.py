"""What cannot be a finished run is refused by its name: in reports it is listed, and the rest is reported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import mam, once, pair_words

from mam.errors import ConfigError, MamError, RecordError
from mam.records.reading import find_finished, find_ft, read_config, read_metrics, read_predictions, read_result
from mam.records.result import plain
from mam.records.validity import parse_result
from mam.report.collect import collect
from mam.report.lambdas import read_course
from mam.report.page import write_report
from mam.runs.compare import compare
from mam.runs.export import export
from mam.runs.rescore import rescore


@pytest.fixture
def two(words, made_once) -> tuple[Path, Path]:
    """A sound run and one to be broken."""
    outputs = made_once("two", [[*words, "evaluate.draws=200", f"lam={lam}"] for lam in (0.3, 0.6)])
    sound, other = sorted(path.parent for path in outputs.rglob("result.json"))
    return sound, other


def edited(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


RESULTS = {
    "unknown normalizer": (
        lambda r: r["data"].update(normalizer="magic"),
        "has normalizer=magic, which is not known here",
    ),
    "NaN": (lambda r: r["metrics"].update(wer=float("nan")), "NaN is not a number"),
    "infinity": (lambda r: r["delta"].update(absolute=float("inf")), "Infinity is not a number"),
    "negative": (lambda r: r["metrics"].update(wer=-0.5), r"\$\.metrics.*does not match the schema:"),
    "fits not": (
        lambda r: r["metrics"].update(wer=0.123),
        r"\$\.metrics\.wer is 0\.123, but there are \d+ errors",
    ),
    "huge": (lambda r: r["metrics"].update(insertions=2**53 + 1), "does not match the schema:"),
    "huger": (lambda r: r["seeds"].update(bootstrap=10**400), r"\$\.seeds\.bootstrap is 1000"),
    "negative count": (lambda r: r["baseline"].update(deletions=-1), "does not match the schema:"),
    "more errors than words": (lambda r: r["metrics"].update(substitutions=10**6), "has more errors than words"),
    "float count": (lambda r: r["merge"].update(layers=[0.0]), r"\$\.merge\.layers\[0\] does not match the schema"),
    "p": (lambda r: r["delta"].update(p_value=1.5), r"\$\.delta\.p_value does not match the schema"),
    "interval": (lambda r: r["delta"].update(ci95=[0.2, -0.2]), r"\$.delta.ci95 has its bounds in the wrong order"),
    "layer": (lambda r: r["merge"].update(layers=[7]), "has a layer for which"),
    "nothing merged": (lambda r: r["merge"].update(layers=[]), "does not match the schema:"),
    "schema": (lambda r: r.update(schema=9), "has schema version 9, but this version of mam reads 1"),
    "method": (
        lambda r: r["merge"].update(method="magic"),
        "has method=magic, which is not known here",
    ),
    "control": (lambda r: r["merge"].update(control="magic"), "has control=magic"),
    "align": (lambda r: r["merge"].update(align="magic"), "has align=magic"),
    "normalizer": (lambda r: r["data"].update(normalizer="magic"), "has normalizer=magic"),
    "task": (lambda r: r.update(task="events"), "has no error, the metric of task=events"),
}


@pytest.mark.parametrize(("change", "message"), RESULTS.values(), ids=RESULTS.keys())
def test_results_that_cannot_be(change, message, tmp_path, request):
    result = request.getfixturevalue("sound_result")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(plain(result)))
    assert read_result(folder) == result
    edited(folder / "result.json", change)
    with pytest.raises(RecordError, match=f"{folder}/result.json: .*{message}"):
        read_result(folder)


@pytest.fixture(scope="module")
def sound_result(hubert_group, bert, tmp_path_factory):
    root = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MAM_CACHE", str(root / "cache"))
        data = write_folder(root / "clips", [0.6, 1.3, 0.9])
        words = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}", "data.split=all"]
        return once([*words, "evaluate.draws=200", "lam=0.4"]).result


def test_numbers_too_large_for_a_float(sound_result, tmp_path):
    text = json.dumps(plain(sound_result)).replace('"absolute": ', '"absolute": 1e999, "x": ', 1)
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RecordError, match=r"result\.json: cannot be read as JSON \(the number 1e999 is too large"):
        read_result(tmp_path)
    content = plain(sound_result)
    content["delta"]["absolute"] = float("nan")
    with pytest.raises(RecordError, match="NaN is not a number"):
        parse_result(json.dumps(content), tmp_path)
    (tmp_path / "result.json").write_text("[1]")
    with pytest.raises(RecordError, match="is not a JSON object"):
        read_result(tmp_path)


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / "predictions.jsonl"
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return act


def config(old: str, new: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / ".hydra" / "config.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return act


def first(old: str, new: str) -> Callable[[Path], None]:
    def change(rows: list[str]) -> list[str]:
        assert old in rows[0]
        return [rows[0].replace(old, new), *rows[1:]]

    return lines(change)


def written(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / ".hydra" / "config.yaml").write_text(text) and None


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


NO_TEXT, UNREADABLE = "line 1: prediction must be text", r"config\.yaml: cannot be read"
OTHERS = "have different examples or references in line 1"
BROKEN = {
    "missing": (lines(lambda rows: rows[:2] + rows[3:]), r"predictions\.jsonl has 4 lines, but result\.json has 5"),
    "twice": (lines(lambda rows: [*rows[:4], rows[3]]), "line 5: 'clip3' also occurs in line 4"),
    "one more": (lines(lambda rows: [*rows, rows[0].replace('"clip0"', '"clip9"')]), "has 6 lines"),
    "other": (first('"clip0"', '"clip9"'), r"in line 1 \('clip9' and 'clip0'\)"),
    "other order": (lines(lambda rows: rows[::-1]), OTHERS),
    "other truth": (first("HELLO", "HALLO"), OTHERS),
    "no text": (first('"prediction": "', '"prediction": 3, "x": "'), NO_TEXT),
    "surrogate": (
        first('"prediction": "', '"prediction": "\\ud800'),
        "line 1: has invalid Unicode characters",
    ),
    "NaN": (first('"duration": ', '"duration": NaN, "x": '), "line 1: .*NaN is not a number"),
    "no predictions": (without("predictions.jsonl"), r"predictions\.jsonl: No such file"),
    "no baseline": (without("baseline.jsonl"), r"baseline\.jsonl: No such file"),
    "no configuration": (without(".hydra/config.yaml"), r"config\.yaml: No such file"),
    "broken configuration": (written("a: ["), "config.yaml: is not valid YAML:"),
    "empty configuration": (written(""), UNREADABLE),
    "a list": (written("[1, 2]"), UNREADABLE),
    "unknown key": (config("parts: qkv", "parts: qkv\nnewer: 1"), rf"{UNREADABLE} \(Key 'newer'"),
    "unknown method": (config("method:\n  name: linear", "method:\n  name: magic"), r"changed: method\.name=magic"),
    "clusters": (config("clusters: utterance", "clusters: speaker"), "line 1: cluster must be text"),
}


@pytest.mark.parametrize(("act", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_run_is_named_everywhere(act, message, two, tmp_path):
    whole, broken = two
    act(broken)
    for use in (
        lambda: read_predictions(broken),
        lambda: compare(whole, broken),
        lambda: compare(broken, whole),
        lambda: export(broken, tmp_path / "exported"),
        lambda: rescore(broken, None, "5"),
    ):
        with pytest.raises(RecordError, match=f"(?s){broken}.*{message}"):
            use()
    assert not (tmp_path / "exported").exists() and not list(broken.glob("score-*"))
    found = collect([Path("outputs")])
    assert [run.folder for run in found.runs] == [whole]
    (remark,) = found.remarks
    assert remark.startswith("1 unreadable: ") and str(broken) in remark
    assert str(broken) in write_report(found, tmp_path / "report").read_text()
    result = read_result(broken)
    assert find_finished(Path("outputs"), result.signature, result.hash) is None
    export(whole, tmp_path / "exported")


def test_the_verbs_go_on(two):
    whole, broken = two
    edited(broken / "result.json", lambda result: result["merge"].update(method="magic"))

    done = mam("report", "outputs")
    assert done.returncode == 0, done.stderr
    assert f"1 unreadable: {broken}/result.json: has method=magic" in " ".join(done.stdout.split())
    refused = mam("compare", whole, broken)
    assert (refused.returncode, refused.stdout) == (
        1,
        "",
    ) and f"{broken}/result.json: has method=magic" in refused.stderr


def test_what_is_wrong_with_a_record_is_told_from_what_is_wrong_with_a_wish(two):
    with pytest.raises(ConfigError, match="data.normalizer=magic: not known"):
        rescore(two[0], "magic", None)
    config("track: []", "track: [wandb]")(two[0])  # of a machine that has it
    assert read_config(two[0]).track == []


@pytest.fixture
def learnt(hubert_group, bert, tmp_path) -> tuple[list[str], Path, Path]:
    splits = ["train"] * 3 + ["dev", "test", "test"]
    root = write_folder(tmp_path / "taught", [0.6, 0.7, 0.8, 0.9, 1.0, 0.6], split=splits)
    steps = ["train.steps=2", "train.evaluate_every=1", "train.batch_size=2", "evaluate.draws=200"]
    words = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={root}", *steps, "train.save_model=false"]
    return words, once([*words, "train=finetune", "lam=0"]).folder, once([*words, "train=lmam", "lam=0.3"]).folder


COURSES = {
    "gone": (None, r"No such file"),
    "empty": (lambda text: "", "line 1: .*it has no λ"),
    "NaN": (lambda text: re.sub(r",q,[0-9.e-]+", ",q,nan", text, count=1), r"line 2: .*λ nan"),
    "part": (lambda text: text.replace(",q,", ",x,", 1), "line 2: .*part 'x'"),
    "cut": (lambda text: text[: text.index(",q,")], "line 2"),
    "column": (lambda text: text.replace("lam", "lambda", 1), "line 1.*'lam'|line 2.*|cannot be read"),
    "layer": (lambda text: text.replace("0,0,q", "0,-1,q", 1), "line 2: .*layer -1"),
}


def test_the_course_of_lambda_and_the_logs(learnt, tmp_path):
    words, ft, lmam = learnt
    good = (lmam / "lambda.csv").read_text()
    assert len(read_course(lmam)) == 9
    for change, message in COURSES.values():
        (lmam / "lambda.csv").unlink() if change is None else (lmam / "lambda.csv").write_text(change(good))
        with pytest.raises(RecordError, match=f"{lmam}/lambda.csv.*{message}"):
            read_course(lmam)
        found = collect([Path("outputs")])
        assert [run.folder for run in found.runs] == [ft] and str(lmam) in found.remarks[0]
        write_report(found, tmp_path / "report")
    key = read_result(ft).train.ft_key
    assert find_ft(Path("outputs"), key) == ft and read_metrics(ft)[0]["step"] == 0
    logs = (ft / "metrics.jsonl").read_text()
    for broken in (
        "{",
        '{"step": "x"}',
        '{"step": 1, "eval_loss": NaN}',
        '{"step": 1, "eval_loss": "low"}',
        '{"loss": 1}',
    ):
        (ft / "metrics.jsonl").write_text(logs + broken)
        with pytest.raises(RecordError, match=f"{ft}/metrics.jsonl, line {len(logs.splitlines()) + 1}: "):
            read_metrics(ft)
        assert find_ft(Path("outputs"), key) is None
    again = once([*words, "train=lmam", "lam=0.2"])
    assert again.result.train.ft is None  # passed over, said in the log, and not fatal


def test_sounds_without_their_confusions(event_words, tmp_path):
    folder = once([*event_words, "lam=0.3", "evaluate.draws=200"]).folder
    assert len(collect([Path("outputs")]).runs) == 1
    good = (folder / "confusion.csv").read_text()
    for text in (
        "",
        good.replace("hum", "him", 1),
        good.rsplit(",", 1)[0],
        good.replace("0", "x"),
        good.replace("0", "-1", 1),
    ):
        (folder / "confusion.csv").write_text(text)
        with pytest.raises(MamError, match=r"contains no finished run; 0 unfinished, 1 unreadable\.\n.*confusion\.csv"):
            collect([Path("outputs")])
    edited(folder / "result.json", lambda result: result["metrics"].update(error=1.5))
    with pytest.raises(RecordError, match=r"\$\.metrics.*does not match the schema:"):
        read_result(folder)


def test_a_link_to_nothing(two):
    (two[1] / "result.json").unlink()
    (two[1] / "result.json").symlink_to("nowhere")
    assert len(collect([Path("outputs")]).runs) == 1
