import numpy as np

from mam.evaluation.diagnostics import diagnose
from mam.tasks import asr


def row(reference, prediction):
    return {"reference": reference, "prediction": prediction}


def diagnosed(references, baseline, merged, note=""):
    old, new = ([row(r, p) for r, p in zip(references, side, strict=True)] for side in (baseline, merged))
    scored_old, scored_new = asr.score(old, "none"), asr.score(new, "none")
    return diagnose(new, scored_new, asr.compare(scored_new, scored_old, None, 500, 0), note)


def test_a_healthy_run_has_nothing_to_say():
    texts = ["a b c"] * 40
    assert diagnosed(texts, texts, texts) == []


def test_worse_than_baseline_and_collapse_come_first():
    texts = ["a b c"] * 40
    found = diagnosed(texts, texts, [""] * 40, "a caveat")
    assert found[0].startswith("worse than its own baseline")
    assert found[1] == "collapsed: every prediction is empty" and found[-1] == "a caveat"


def test_small_and_empty_are_said():
    found = "\n".join(diagnosed(["a", "", "b"], ["a", "", "b"], ["a", "x", ""]))
    assert "1 of 3 predictions are empty" in found
    assert "1 references have no word after normalisation" in found
    assert "only 3 utterances or clusters" in found


def test_score_counts_as_the_scorer_does():
    scored = asr.score([row("Hello, Anna!", "HELLO HANNA"), row("one", "1")], "hubert_english")
    assert scored.rates.wer == 1 / 3
    np.testing.assert_array_equal(scored.words, [[1, 0, 0, 2], [0, 0, 0, 1]])
