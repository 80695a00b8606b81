"""Sentences about a difference say what its test allows, and no more."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter
from support.scores import few

from mam.records.parts import Delta
from mam.records.result import plain
from mam.scoring.significance import Difference, paired_difference
from mam.scoring.wording import (
    FEW,
    counted,
    counts_cell,
    difference_text,
    excluded,
    p_cell,
    table_notes,
    units_text,
)


def test_units_stand_beside_every_difference():
    assert units_text(few(90, 9, 5)) == "90 utterances, 14 changed: 9 better, 5 worse"
    assert units_text(few(1, 0)) == "1 utterance, none with a different number of errors"
    assert counted(1, "speaker") == "1 speaker" and counted(0, "clip") == "0 clips"


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        (few(16, 4), "with fewer than 6 changed utterances, no difference can be significant"),
        (
            few(40, 30, 0, list(range(4)) * 10, "speaker"),
            "with fewer than 6 speakers, no difference can be significant",
        ),
    ],
    ids=["utterances", "speakers"],
)
def test_too_few_is_said_in_place_of_p(difference, reason):
    assert units_text(difference).endswith(reason)
    assert ", p " not in difference_text(difference) and p_cell(difference) == FEW == p_cell(difference, 0.5)


def test_nothing_changed_bounds_what_would():
    same = few(90, 0)
    assert difference_text(same) == (
        "+0.00 points: 0 of 90 utterances changed, so with 95 % confidence at most about 3.3 % would in general (3/n)"
    )
    assert p_cell(same) == "–" and counts_cell(same) == "0/0"


def test_a_difference_with_its_interval_and_p():
    made = few(90, 9, 5)
    text = difference_text(made)
    assert text.startswith("−0.44 points, 95 % [") and text.endswith("], p 0.424; relative −2.22 %")
    boot = paired_difference(np.arange(40) % 3, np.arange(40) % 2, np.full(40, 5), interval="bootstrap")
    assert "95 % (bootstrap) [" in difference_text(boot)


def test_speakers_that_all_change_alike_are_not_called_unchanged():
    """Two clusters with 71 and 73 substitutions against as many more: not "nothing changed"."""
    made = paired_difference(*(np.array([v] * 2) for v in (9, 10, 400)), clusters=[0, 1], unit="speaker")
    assert difference_text(made) == "−0.25 points, 95 % [−2.50, +2.00]; relative −10.00 %"
    assert units_text(made).startswith("2 speakers, 2 changed: 2 better, 0 worse; with fewer than 6 speakers")


def test_what_intervals_exclude():
    alone = paired_difference(*(np.array([v]) for v in (9, 10, 400)))
    assert excluded([alone]).startswith("a single unit has no interval")
    assert excluded([few(90, 0)]) == "no unit changed its number of errors, so nothing can be concluded"
    one = Difference(-0.01, None, (-0.03, 0.01), None, 0.3, "", 90, "utterance", 9, 6, 3)
    other = Difference(0.02, None, (-0.01, 0.05), None, 0.3, "", 90, "utterance", 4, 1, 3)
    assert excluded([one]).startswith("the 95 % interval is [−3.00, +1.00] points")
    assert excluded([one, other]) == (
        "the 95 % intervals span −3.00 to +5.00 points; 1 of 2 comparisons have fewer than 6 changed units"
    )


def test_notes_below_a_table():
    assert table_notes([few(90, 9, 5)]) == ["b/w: better/worse, units with fewer/more errors, of 90 utterances"]
    assert any("adjusted" in note for note in table_notes([few(90, 9, 5)] * 2)), "of several"
    assert table_notes([few(90, 2)])[1].startswith("few: fewer than 6 units changed")


def test_results_of_older_versions_have_no_counts():
    old = {"absolute": -0.01, "relative": None, "ci95": [-0.02, 0.0], "relative_ci95": None, "p_value": 0.04}
    old |= {"detectable": 0.01, "test": "paired bootstrap", "clusters": 90}
    made = TypeAdapter(Delta).validate_json(json.dumps(old))
    assert made.is_old and made.detectable == 0.01
    assert made.changed is None and units_text(made) == "90 utterances" and counts_cell(made) == "–"
    assert p_cell(made) == "old" and made.interval == "bootstrap"


@pytest.mark.parametrize("delta", [few(90, 9, 5), few(90, 0), few(5, 1)])
def test_a_recorded_difference_is_read_back(delta):
    assert TypeAdapter(Difference).validate_json(json.dumps(plain(delta))) == delta
