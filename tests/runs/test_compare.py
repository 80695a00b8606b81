"""Two runs over the same examples: the paired test of their saved predictions; anything else is refused."""

from __future__ import annotations

import json

import pytest
from support.runs import mam, once, predictions

from mam.errors import RecordError
from mam.records.reading import read_config, read_result
from mam.records.text import metric_name
from mam.report.collect import collect
from mam.report.comparison import show_comparison
from mam.report.utterances import utterances
from mam.runs.compare import compare
from mam.runs.rescore import rescore
from mam.terminal import Terminal


def test_the_difference_is_that_of_both_rates(words):
    runs = [once([*words, f"lam={lam}", "evaluate.draws=300"]) for lam in (0.3, 0.8)]
    found = compare(*(run.folder for run in runs))
    rates = tuple(run.result.metrics.wer for run in runs)
    assert found.rates == pytest.approx(rates) and found.difference.absolute == pytest.approx(rates[1] - rates[0])
    back = compare(*(run.folder for run in reversed(runs)))
    assert back.difference.absolute == pytest.approx(-found.difference.absolute)
    ends = found.difference.ci95
    assert back.difference.ci95 == (ends and pytest.approx((-ends[1], -ends[0])))
    texts = [predictions(run) for run in runs]
    assert {one.id for one in found.changed} == {f"clip{i}" for i in range(5) if texts[0][i] != texts[1][i]}
    against_itself = compare(runs[0].folder, runs[0].folder)
    assert against_itself.difference.absolute == 0 and against_itself.changed == []


def test_every_draw_of_a_random_control_counts(words):
    plain, random = once([*words, "lam=0.5"]), once([*words, "lam=0.5", "control=random_iid"])
    found = compare(plain.folder, random.folder)
    assert found.rates[1] == pytest.approx(random.result.metrics.wer)
    assert "and 5 draws" in found.difference.test


def test_sounds_are_compared_too(event_words):
    runs = [once([*event_words, f"lam={lam}", "evaluate.draws=200"]) for lam in (0, 0.9)]
    found = compare(*(run.folder for run in runs))
    assert found.metric == "error" and found.difference.absolute == pytest.approx(runs[1].result.delta.absolute)


def test_other_examples_are_refused_with_the_reason(words, event_words, clips):
    whole, some = once([*words, "lam=0.3"]), once([*words, "lam=0.3", "data.limit=3"])
    with pytest.raises(
        RecordError, match=r"their examples differ \(5 and 3\); for example, only one of them has 'clip3'"
    ):
        compare(whole.folder, some.folder)
    with pytest.raises(RecordError, match="their task differs, asr and events"):
        compare(whole.folder, once([*event_words, "lam=0.3"]).folder)
    other = once([*words, "lam=0.3", "data.normalizer=basic"])
    with pytest.raises(RecordError, match=r"their normalizer differs, hubert_english and basic\. Run one again with"):
        compare(whole.folder, other.folder)
    (clips / "metadata.csv").write_text((clips / "metadata.csv").read_text().replace("ANNA", "HANNA"))
    with pytest.raises(RecordError, match=r"the reference of 'clip1' differs: 'ANNA' and 'HANNA'"):
        compare(whole.folder, once([*words, "lam=0.3"]).folder)


def test_the_verb(words):
    runs = [once([*words, f"lam={lam}", "evaluate.draws=200"]).folder for lam in (0, 0.8)]
    shown = mam("compare", *runs)
    assert shown.returncode == 0 and "B − A: " in shown.stdout and "predictions differ" in shown.stdout
    wrong = mam("compare", runs[0])
    assert wrong.returncode == 2 and "Usage: mam compare A B" in wrong.stderr


def test_where_characters_are_counted_every_number_and_name_is_of_characters(words, clips, capsys):
    texts = (clips / "metadata.csv").read_text()
    (clips / "metadata.csv").write_text(texts.replace("HELLO THERE", "今天 天气").replace("ANNA", "谢谢"))
    words = [*words, "data.normalizer=multilingual", "data.language=zh", "data.limit=2", "evaluate.draws=200"]
    runs = [once([*words, f"lam={lam}"]) for lam in (0, 0.8)]
    by_words = once([*words, "lam=0.8", "data.metric=wer"])
    assert [run.result.data.metric for run in (*runs, by_words)] == ["cer", "cer", "wer"]
    metrics, before = runs[1].result.metrics, runs[1].result.baseline
    assert runs[1].result.delta.absolute == pytest.approx(metrics.cer - before.cer)
    assert by_words.result.delta.absolute == pytest.approx(metrics.wer - before.wer)
    found = compare(*(run.folder for run in runs))
    assert found.metric == "cer" and found.rates == pytest.approx((before.cer, metrics.cer))
    assert [(run.result.metric, metric_name(run.result)) for run in (runs[0], by_words)] == [
        ("cer", "CER"),
        ("wer", "WER"),
    ]
    show_comparison(Terminal(), found, "AB")
    assert "CER" in (said := capsys.readouterr().out + capsys.readouterr().err) and "WER" not in said
    with pytest.raises(RecordError, match="their metric differs, cer and wer"):
        compare(runs[0].folder, by_words.folder)
    assert len(collect([runs[0].folder, by_words.folder]).groups) == 2
    said = utterances(read_config(runs[1].folder), runs[1].folder)
    assert [one.token for one in said] == ["character"] * 2 and [one.words for one in said] == [4, 2]

    rescored, _ = rescore(runs[1].folder, "none", None)
    assert rescored.data.metric == "cer" and rescored.delta.absolute == pytest.approx(
        rescored.metrics.cer - rescored.baseline.cer
    )
    path = by_words.folder / "result.json"  # as an older run is: it counted words and does not say so
    kept = json.loads(path.read_text())
    del kept["data"]["metric"]
    path.write_text(json.dumps(kept))
    old = read_result(by_words.folder)
    assert read_config(by_words.folder).data.metric == "wer" and (old.metric, metric_name(old)) == ("wer", "WER")
