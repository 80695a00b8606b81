"""Fixtures of data sets: a repository of the hub in a folder, and clips."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest
from support.audio import write_folder

from mam.data import hub as hub_module


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module.settings, "HF_DATASETS_CACHE", tmp_path / "datasets")
    gc.freeze()  # what is here already need not be looked at again
    yield
    with warnings.catch_warnings():  # datasets leaves metadata.csv open, which would be noticed in some later test
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def place(tmp_path) -> Path:
    """The folder of a repository; it has no README, so that all its files are one configuration."""
    return tmp_path / "repository"


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    folder = write_folder(tmp_path / "clips", [0.6, 1.3, 0.9])
    return [folder / f"clip{i}.wav" for i in range(3)]
