"""Two sources for one target."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.models import make_bert
from support.runs import data_words, pair_words


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Path:
    """A second BERT of the same shape."""
    return make_bert(tmp_path_factory.mktemp("other"), seed=5)


@pytest.fixture
def several(hubert_group, bert, other, clips) -> list[str]:
    """The words of a run with both."""
    return [*pair_words(hubert_group, bert), f"model.sources=[{bert},{other}]", *data_words(clips)]
