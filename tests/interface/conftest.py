"""Fixtures: a target and a source in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertModel, HubertForCTC


@pytest.fixture
def target(hubert_group: Path) -> HubertForCTC:
    return HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32).eval()


@pytest.fixture
def source(bert: Path) -> BertModel:
    return BertModel.from_pretrained(bert, dtype=torch.float32)
