"""Results and logs that other versions wrote: what they have more is passed over, what they lack is not invented."""

from __future__ import annotations

import json

import pytest
import yaml
from support.runs import once

from mam.config.data import ColumnsConfig, HubConfig
from mam.errors import RecordError
from mam.records.reading import CONFIG, METRICS, RESULT, read_config, read_metrics, read_result


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
    with pytest.raises(RecordError, match="line 1: does not come from a training"):
        read_metrics(tmp_path)


EARLIER = {"id": "a/b", "revision": "main", "files": "**/*.parquet", "audio": "sound", "text": None, "ids": "nr"}
EARLIER |= {"speaker": "who", "label": None, "fold": None, "origin": None}


@pytest.mark.parametrize("source", ["folder", "hub"])
def test_columns_of_the_hub_stood_in_data_hub(words, source):
    """They had an effect on the hub only, and are now in data.columns."""
    folder = once(words).folder
    recorded = yaml.safe_load((folder / CONFIG).read_text())
    recorded["data"] |= {"source": source, "hub": EARLIER}
    del recorded["data"]["columns"], recorded["data"]["metadata"]
    (folder / CONFIG).write_text(yaml.safe_dump(recorded))
    data = read_config(folder).data
    assert data.hub == HubConfig(id="a/b") and data.source == source
    columns = ColumnsConfig(audio="sound", id="nr", speaker="who") if source == "hub" else ColumnsConfig()
    assert data.columns == columns
    recorded["data"]["hub"] = EARLIER | {"more": 1}
    (folder / CONFIG).write_text(yaml.safe_dump(recorded))
    with pytest.raises(RecordError, match="cannot be read .*more"):
        read_config(folder)
