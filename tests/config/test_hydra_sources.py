"""Hydra reads files through mam's checks, whatever its own search for plug-ins does to its classes."""

from __future__ import annotations

import pytest
from hydra.core.plugins import Plugins

from mam.config import hydra_sources
from mam.config.compose import jobs
from mam.config.search import ONLY_MAMS, SearchPath
from mam.errors import ConfigError


def sources(search: SearchPath) -> dict:
    return {source.path: source for source in search.loader().repository.sources}


def test_a_file_of_ones_own_is_checked_by_its_source(tmp_path):
    jobs([])
    Plugins.instance()._initialize()  # as Hydra does once a process: its classes are others from now on
    (tmp_path / "deep.yaml").write_text(f"a: {'[' * 200}{']' * 200}\n")
    with pytest.raises(ConfigError, match="deep.yaml: is nested more than 100 levels deep"):
        sources(SearchPath((f"file://{tmp_path}",)))[str(tmp_path)].load_config("deep")


def test_files_of_mam_are_parsed_once_and_copies_given(monkeypatch):
    first = sources(ONLY_MAMS)["mam.conf"].load_config("config").config
    monkeypatch.setattr(hydra_sources.ImportlibResourcesConfigSource, "load_config", lambda *_: pytest.fail("again"))
    again = sources(ONLY_MAMS)["mam.conf"].load_config("config").config
    again["lam"] = 9
    third = sources(ONLY_MAMS)["mam.conf"].load_config("config").config
    assert third == first != again
