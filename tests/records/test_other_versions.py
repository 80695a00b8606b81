"""Results and logs that other versions wrote: what they have more is passed over, what they lack is not invented."""

from __future__ import annotations

import json

import pytest
from support.runs import once

from mam.errors import RecordError
from mam.records.reading import METRICS, RESULT, read_metrics, read_result


def test_further_keys_of_the_environment_are_passed_over(words):
    outcome = once(words)
    path = outcome.folder / RESULT
    content = json.loads(path.read_text())
    for part in ("env", "timing", "seeds"):
        content[part]["more"] = 1
    path.write_text(json.dumps(content))
    assert read_result(outcome.folder) == outcome.result
    content["data"]["more"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"\$\.data\.more"):
        read_result(outcome.folder)


def test_a_norm_that_overflowed_is_a_log_like_others(tmp_path):
    rows = [{"step": 1, "grad_norm": None, "loss": 2.0}, {"step": 2, "grad_norm": 0.5, "loss": 1.0}]
    (tmp_path / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_metrics(tmp_path) == rows
    (tmp_path / METRICS).write_text('{"step": 1, "loss": "low"}\n')
    with pytest.raises(RecordError, match="line 1: is no log of a training"):
        read_metrics(tmp_path)
