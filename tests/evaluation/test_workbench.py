"""What a workbench refuses before it loads."""

from __future__ import annotations

import pytest
from support.runs import jobs, pair_words

from mam.errors import CheckpointError
from mam.evaluation import model_pair, workbench


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(hubert_group, bert, monkeypatch):
    monkeypatch.setattr(model_pair, "free_memory", lambda: 1000)
    monkeypatch.setattr(model_pair, "load_target", lambda *_: pytest.fail("loaded all the same"))
    (job,) = jobs(pair_words(hubert_group, bert))
    with pytest.raises(CheckpointError, match="needs 0.13 MB of memory in float32, but only 0.001 MB are free"):
        workbench.Workbench().pair(job.config)
