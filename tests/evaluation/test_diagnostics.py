from support.runs import jobs

from mam.evaluation.diagnostics import diagnose
from mam.tasks import asr


def row(reference, prediction):
    return {"reference": reference, "prediction": prediction}


def config(*words):
    return jobs(words)[0].config


def diagnosed(references, baseline, merged, note=""):
    old, new = ([row(r, p) for r, p in zip(references, side, strict=True)] for side in (baseline, merged))
    scored = asr.score(config("data.normalizer=none"), [new], old)
    return diagnose(scored.delta, scored.findings, note)


def test_a_healthy_run_has_nothing_to_say():
    texts = ["a b c"] * 40
    assert diagnosed(texts, texts, texts) == []


def test_worse_than_baseline_and_collapse_come_first():
    texts = ["a b c"] * 40
    found = diagnosed(texts, texts, [""] * 40, "a caveat")
    assert found[0].startswith("significantly worse than its own baseline")
    assert found[1] == "collapsed: every prediction is empty" and found[-1] == "a caveat"


def test_small_and_empty_are_said():
    found = "\n".join(diagnosed(["a", "", "b"], ["a", "", "b"], ["a", "x", ""]))
    assert "empty predictions: 1 of 3" in found
    assert "references without words after normalisation: 1" in found
    assert "with fewer than 6 utterances, no difference can be significant" in found
