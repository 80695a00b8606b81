"""Files of BEATs: what is none is refused, what is written is whole."""

from __future__ import annotations

import argparse
import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from support.models import BEATS_CFG, make_beats, make_bert

from mam.errors import CheckpointError, MamError
from mam.files import sha256_file
from mam.models.beats import BeatsModel
from mam.models.locate import locate
from mam.models.sources import Source


class Run:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path, sign = tmp_path / "evil.pt", tmp_path / "it ran"
    torch.save({"cfg": BEATS_CFG, "model": {"x": Run(sign)}}, path)
    with pytest.raises(CheckpointError, match="mam never runs code from a checkpoint"):
        BeatsModel.from_checkpoint(path)
    path.write_bytes(pickle.dumps(Run(sign)))
    with pytest.raises(CheckpointError, match="mam never runs code from a checkpoint"):
        BeatsModel.from_checkpoint(path)
    assert not sign.exists()


def test_another_hash_is_refused(tmp_path):
    path = make_beats(tmp_path / "beats.pt")
    right = sha256_file(path)
    assert BeatsModel.from_checkpoint(path, right.upper()).config.encoder_layers == 3
    assert locate(str(path), sha256=right).sha256 == right
    for load in (BeatsModel.from_checkpoint, lambda p, sha256: locate(str(p), sha256=sha256)):
        with pytest.raises(CheckpointError, match=rf"SHA-256.* is {right}, not {'0' * 64}. (Fetch|Download) it again"):
            load(path, sha256="0" * 64)


def rewrite(path: Path, change) -> Path:
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)
    return path


WRONG = {
    "lacks": (lambda s: s["model"].pop("encoder.layers.1.fc1.weight"), "lacks encoder.layers.1.fc1.weight"),
    "more": (lambda s: s["model"].update(x=torch.zeros(1)), "has x, which does not belong to a model with this cfg"),
    "shape": (
        lambda s: s["model"].update({"layer_norm.weight": torch.zeros(3)}),
        r"layer_norm.weight is \(3,\) instead of \(16,\)",
    ),
    "nan": (
        lambda s: s["model"]["layer_norm.weight"].fill_(float("nan")),
        "layer_norm.weight has NaN or infinite values",
    ),
    "tables": (
        lambda s: s["model"].update({"encoder.layers.2.self_attn.relative_attention_bias.weight": torch.zeros(32, 4)}),
        "its layers have different tables of relative positions, but BEATs shares one",
    ),
    "no cfg": (lambda s: s.pop("cfg"), "is not a BEATs checkpoint"),
    "no model": (lambda s: s.pop("model"), "It has no 'model'"),
    "not tensors": (lambda s: s["model"].update(x="y"), "is not a BEATs checkpoint"),
    "size": (lambda s: s["cfg"].update(encoder_layers="many"), "encoder_layers='many'"),
    "huge": (lambda s: s["cfg"].update(encoder_embed_dim=999_996), "encoder"),
    "deep": (lambda s: s["cfg"].update(encoder_layers=10**6), "encoder_layers=1000000 is more than 1000"),
    "activation": (lambda s: s["cfg"].update(activation_fn="glu"), r"activation_fn='glu' \(known: gelu, relu\)"),
    "heads": (lambda s: s["cfg"].update(encoder_attention_heads=5), "is not a multiple of its heads"),
    "labels": (lambda s: s.update(label_dict=["a"]), "label_dict does not map class numbers"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_beats_is_refused(change, message, tmp_path):
    path = rewrite(make_beats(tmp_path / "beats.pt"), change)
    with pytest.raises(CheckpointError, match=message) as caught:
        BeatsModel.from_checkpoint(path)
    assert str(path) in str(caught.value)


def test_no_file_says_where_beats_comes_from(tmp_path):
    for load in (BeatsModel.from_checkpoint, locate):
        with pytest.raises(CheckpointError, match=r"there is no such file. BEATs checkpoints .* model.target=FILE.pt"):
            load(str(tmp_path / "none.pt"))


def test_a_truncated_file_is_refused(tmp_path):
    path = make_beats(tmp_path / "beats.pt")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        BeatsModel.from_checkpoint(path)


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = make_beats(tmp_path / "beats.pt")
    before = path.read_bytes()

    def full(value, place):
        Path(place).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MamError, match="No space left on device"):
        BeatsModel.from_checkpoint(path).save_checkpoint(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["beats.pt"]


@dataclasses.dataclass
class Settings:
    """A class of a training script's own."""

    input_patch_size: int = 16


def test_a_cfg_as_training_scripts_keep_their_arguments_is_read(beats, tmp_path):
    saved = torch.load(beats, weights_only=True)
    torch.save(saved | {"cfg": argparse.Namespace(**saved["cfg"])}, tmp_path / "spaced.pt")
    plain, spaced = (BeatsModel.from_checkpoint(path) for path in (beats, tmp_path / "spaced.pt"))
    assert spaced.cfg == plain.cfg == saved["cfg"]
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in spaced.state_dict().items())
    spaced.save_checkpoint(tmp_path / "written.pt")  # as the original code reads it: a dict
    assert torch.load(tmp_path / "written.pt", weights_only=True)["cfg"] == saved["cfg"]


def test_no_other_class_is_read_from_a_pickle(beats, tmp_path):
    saved = torch.load(beats, weights_only=True)
    torch.save(saved | {"cfg": Settings()}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="contains more than plain weights"):
        BeatsModel.from_checkpoint(tmp_path / "odd.pt")
    folder = make_bert(tmp_path / "b")
    (folder / "model.safetensors").unlink()
    torch.save({"args": argparse.Namespace(a=1)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="contains more than plain weights"):
        Source(locate(str(folder)))
