"""What a model's folder claims: sizes, types and links that its weights do not bear out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from support.models import make_beats, make_bert, make_hubert, make_whisper

from mam.errors import CheckpointError, DataError
from mam.evaluation import model_pair
from mam.evaluation.model_pair import refuse_too_long
from mam.models.ctc import CTCTarget
from mam.models.events import Beats
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source

MAKERS = {"hubert": make_hubert, "bert": make_bert, "whisper": make_whisper}


@pytest.fixture
def folder(tmp_path, request):
    return MAKERS[request.param](tmp_path / "model")


def configure(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("folder", "values", "message"),
    [
        (
            "hubert",
            {"num_hidden_layers": 10**9},
            r"num_hidden_layers in its config.json is 1000000000, but its weights have \d+ tensors",
        ),
        ("hubert", {"vocab_size": 10**9}, r"of its 1000000000 outputs have no token"),
        ("hubert", {"hidden_size": 2**40}, "hidden_size in its config.json is 1099511627776"),
        ("hubert", {"conv_stride": [0] * 7}, "conv_stride in its config.json is 0"),
        ("hubert", {"hidden_dropout": 1e308}, r"hidden_dropout in its .* is 1e\+308. It must be from 0 to 1"),
        ("hubert", {"hidden_act": ["gelu"]}, "hidden_act"),
        ("hubert", {"conv_dim": "many"}, "conv_dim"),
        ("whisper", {"encoder_layers": 10**9}, "encoder_layers in its config.json is 1000000000"),
        ("whisper", {"output_hidden_states": 1.5}, "output_hidden_states is 1.5"),
        ("whisper", {"vocab_size": {}}, "vocab_size"),
        ("whisper", {"max_source_positions": True}, "max_source_positions"),
    ],
    indirect=["folder"],
)
def test_targets(folder, values, message):
    configure(folder, **values)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        load_target(locate(str(folder)))
    assert time.process_time() - start < 30  # a billion layers would take for ever


@pytest.mark.parametrize(
    ("folder", "values", "message"),
    [
        ("bert", {"num_attention_heads": 0}, "num_attention_heads in its config.json is 0"),
        ("bert", {"num_attention_heads": -1}, "num_attention_heads in its config.json is -1"),
        ("bert", {"num_attention_heads": 2.5}, "num_attention_heads in its config.json is 2.5"),
        ("bert", {"num_attention_heads": True}, "num_attention_heads in its config.json is True"),
        ("bert", {"num_attention_heads": 2**80}, "num_attention_heads"),
    ],
    indirect=["folder"],
)
def test_sources(folder, values, message):
    configure(folder, **values)
    with pytest.raises(CheckpointError, match=message):
        _ = Source(locate(str(folder))).shape


@pytest.mark.parametrize("folder", ["bert"], indirect=True)
@pytest.mark.parametrize("weight_map", [{}, {"a": "../model.safetensors"}, {"a": "/etc/passwd"}, {"a": 3}, ["a"], None])
def test_an_index_that_names_no_shards_beside_it(folder, weight_map):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"index\.json: is not an index of shards"):
        locate(str(folder))


@pytest.mark.parametrize("folder", ["bert"], indirect=True)
@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer_config.json"])
def test_settings_that_are_links_elsewhere_or_no_files(folder, tmp_path, name):
    (tmp_path / "secret").write_text("a secret")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(
        CheckpointError, match=f"{name}: is a link to a place outside .* Replace it with the file itself"
    ) as error:
        locate(str(folder))
    assert "a secret" not in str(error.value)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match=f"{name}: is not a regular file"):
        locate(str(folder))


def test_the_hubs_own_links_are_followed(tmp_path):
    """A snapshot of the hub's cache holds links to ``blobs``."""
    repository = tmp_path / "models--owner--name"
    snapshot = make_bert(repository / "snapshots" / "0123abc")
    (repository / "blobs").mkdir()
    for path in list(snapshot.iterdir()):
        path.rename(repository / "blobs" / path.name)
        path.symlink_to(f"../../blobs/{path.name}")
    assert Source(locate(str(snapshot))).layers == 4
    (snapshot / "config.json").unlink()
    (tmp_path / "elsewhere").write_text("{}")
    (snapshot / "config.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="a link to a place outside"):
        locate(str(snapshot))


class Recording:
    """As much of an `AudioStore` as is looked at."""

    def __init__(self, minutes: float) -> None:
        self.samples, self.seconds = [16000, int(minutes * 60 * 16000)], [1.0, minutes * 60]
        self.corpus = type("Corpus", (), {"examples": [{"id": "short"}, {"id": "long"}]})


@pytest.mark.parametrize("folder", ["hubert"], indirect=True)
def test_what_cannot_be_heard_as_a_whole_is_refused_before_loading(folder, monkeypatch):
    configure(folder, conv_dim=[512] * 7, conv_stride=[5, 2, 2, 2, 2, 2, 2])
    monkeypatch.setattr(model_pair, "free_memory", lambda: 20 * 10**9)
    checkpoint = locate(str(folder))
    assert CTCTarget.working_bytes(checkpoint, 16000) == 16_384_000  # 2.5 * 4 bytes * 512 channels * 3,200 frames
    refuse_too_long(Recording(15), CTCTarget, checkpoint)
    with pytest.raises(DataError, match="long: is 180 minutes long, .* needs at least 177 GB .* 20 GB are free"):
        refuse_too_long(Recording(180), CTCTarget, checkpoint)


def test_beats_hears_in_squares(tmp_path):
    checkpoint = locate(str(make_beats(tmp_path / "beats.pt")))
    one, two = (Beats.working_bytes(checkpoint, 16000 * minutes * 60) for minutes in (1, 2))
    assert two / one == pytest.approx(4, rel=0.01)
