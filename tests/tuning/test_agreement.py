"""Agreement of neighbours: by hand, and through runs."""

from __future__ import annotations

import json

import pytest
from support.runs import jobs, mam, once

from mam.errors import ConfigError
from mam.tuning.agreement import Agreement, by_agreement, most_agreeing
from mam.tuning.known import Known

WORDS = ["tune=agreement", f"tune.values={[0.1, 0.2, 0.3, 0.4]}", "evaluate.draws=100"]


class Written:
    """A stand-in for `Dev`: what the target writes at each λ, for each draw."""

    def __init__(self, **texts: list[list[str]]) -> None:
        self.texts, self.asked = {float(name[1:].replace("_", ".")): draws for name, draws in texts.items()}, []

    def rows(self, lam: float) -> list[list[dict[str, str]]]:
        self.asked.append(lam)
        return [
            [{"id": str(i), "reference": "unread", "prediction": text} for i, text in enumerate(draw)]
            for draw in self.texts[lam]
        ]


def choice(tmp_path, dev: Written, *more: str):
    values = sorted(lam for lam in dev.texts if lam)
    (job,) = jobs(["tune=agreement", f"tune.values={values}", "data.normalizer=none", "data.metric=wer", *more])
    return by_agreement(job.config, dev, Known(tmp_path))


def test_by_hand(tmp_path):
    """0.1 and 0.2 differ in one of (4 + 4) / 2 words, 0.2 and 0.3 in two of (4 + 2) / 2."""
    dev = Written(l0=[["a b", "c d"]], l0_1=[["a b", "c d"]], l0_2=[["a b", "c e"]], l0_3=[["a", "c"]])
    found = choice(tmp_path, dev)
    assert {one.lam: one.disagreement for one in found.record.tried} == {
        0.1: pytest.approx(1 / 4), 0.2: pytest.approx((1 / 4 + 2 / 3) / 2), 0.3: pytest.approx(2 / 3)
    }  # fmt: skip
    assert found.lams == {"": 0.1} and found.notes == []
    assert all(one.rate is None for one in found.record.tried)  # no label was read
    calls = len(dev.asked)
    assert choice(tmp_path, dev).lams == found.lams and len(dev.asked) == calls  # all is known


def test_the_smallest_of_equal_ones_and_none_that_is_silent(tmp_path):
    assert most_agreeing({0.2: Agreement(0.1, 0), 0.1: Agreement(0.1, 0)}) == 0.1
    dev = Written(l0=[["a"] * 5], l0_1=[["b"] * 5], l0_2=[["c"] * 5], l0_3=[[""] * 5], l0_4=[[""] * 5])
    found = choice(tmp_path, dev)
    assert {one.lam: one.silenced for one in found.record.tried}[0.4] == 1
    assert found.lams == {"": 0.1}
    assert found.notes == [
        "agreement: with 2 of 4 λ, more than 10 % of the transcripts became empty; these λ were excluded"
    ]


def test_where_all_are_silent_nothing_is_merged(tmp_path):
    dev = Written(l0=[["a"] * 5], **{f"l0_{i}": [[""] * 5] for i in (1, 2, 3)})
    found = choice(tmp_path, dev, "tune.audio=test")
    assert found.lams == {"": 0.0} and found.record.transductive
    assert found.notes[0].endswith("without their labels (transductive)")
    assert found.notes[1].endswith("were excluded, so nothing is merged")


def test_draws_are_averaged(tmp_path):
    dev = Written(l0=[["a b"]], l0_1=[["a b"], ["a b"]], l0_2=[["a b"], ["a c"]], l0_3=[["a b"], ["d c"]])
    found = {one.lam: one.disagreement for one in choice(tmp_path, dev).record.tried}
    assert found[0.1] == pytest.approx((0 + 1 / 2) / 2) and found[0.3] == pytest.approx((0 + 1 / 2) / 2)


def test_a_run_records_what_was_tried():
    whole = once(["data.limit=6", *WORDS])
    tune = whole.result.tune
    assert tune.name == "agreement" and [one.lam for one in tune.tried] == [0.1, 0.2, 0.3, 0.4]
    assert whole.result.merge.lam == [tune.chosen[0].lam] * 4
    shown = mam("run", "data.limit=6", *WORDS, "force=true")
    assert "tune    agreement on dev, without labels: λ" in shown.stdout and "of words" in shown.stdout
    record = json.loads((whole.folder / "result.json").read_text())["tune"]
    assert all(one["rate"] is None and 0 <= one["disagreement"] <= 1 for one in record["tried"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune.values=[0.1,0.2]"], "agreement needs three or more equally spaced λ above 0"),
        (["tune.values=[0,0.1,0.2]"], "agreement needs three or more equally spaced λ above 0"),
        (["tune.values=[0.1,0.2,0.4]"], "agreement needs three or more equally spaced λ above 0"),
        (["model=demo_beats_vit", "data=demo_sounds"], "tune=agreement: compares transcripts"),
        (["tune.low=0.1"], "tune.low: has no effect without"),
    ],
)
def test_what_cannot_agree_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        jobs(["tune=agreement", *words])
