"""Each CTC family against its own plain transformers model: merged, alone, batched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from support.audio import noise
from support.families import COMMON, FAMILIES, WAVES, make_ctc
from support.merging import linear_plan, logits, merge_by_hand
from support.models import LAYERS, WIDTH
from support.runs import data_words, once, pair_words
from transformers import AutoFeatureExtractor

from mam.merging.merger import Merger
from mam.models.ctc import Hubert
from mam.models.families import TARGETS, load_target
from mam.models.locate import locate
from mam.models.sources import Source


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> Path:
    return make_ctc(tmp_path_factory.mktemp(request.param), request.param)


def plain_model(folder: Path):
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_merged_logits_equal_plain_transformers(family, bert, lam):
    wave = noise(1.3, 5)
    plain = plain_model(family)
    attentions = [getattr(layer, "attention", None) or layer.self_attn for layer in plain.base_model.encoder.layers]
    merge_by_hand(attentions, bert, lam)
    inputs = AutoFeatureExtractor.from_pretrained(family)(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        expected = plain(**inputs).logits[0]
    target = load_target(locate(str(family)))
    plan = linear_plan(lam)
    Merger(target.blocks, Source(locate(str(bert))).read).apply(plan)
    ours = logits(target, [wave])[0]
    torch.testing.assert_close(ours, expected[: len(ours)], rtol=0, atol=5e-5)
    assert len(expected) - len(ours) in (0, 1)  # one frame of padding, where the features come in pairs


def test_alone_equals_batched(family):
    target = load_target(locate(str(family)))
    waves = [noise(seconds, i) for i, seconds in enumerate([0.5, 1.6, 0.83, 1.6])]
    for batched, wave in zip(logits(target, waves), waves, strict=True):
        torch.testing.assert_close(batched, logits(target, [wave])[0], rtol=0, atol=1e-4)


def test_batch_norm_hears_real_frames_alone_while_training():
    """Its statistics are those of the frames of all clips together, whatever pads them."""
    torch.manual_seed(0)
    options = COMMON | WAVES | {"conv_pos_batch_norm": True}
    model = transformers.HubertForCTC(transformers.HubertConfig(**options))
    norm = model.hubert.encoder.pos_conv_embed.batch_norm
    target = Hubert.__new__(Hubert)
    target.model, target.readout = model.train(), "text"
    states = torch.randn(2, 9, WIDTH) * torch.tensor([[9], [4]]).gt(torch.arange(9))[..., None]
    real = torch.cat([states[0], states[1, :4]])
    target.add_positions(states, torch.tensor([9, 4]))
    torch.testing.assert_close(norm.running_mean, 0.1 * real.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * real.var(0))


def test_a_whole_run(family, bert, clips):
    """What is asked of the checkpoint alone, such as the memory that a clip takes, is asked of every family."""
    words = [*pair_words(family, bert), *data_words(clips), "lam=0.5", "data.limit=2", "evaluate.draws=100"]
    assert once(words).result.data.n == 2


def test_starting_above_the_first_layer_changes_nothing(family):
    target = load_target(locate(str(family)))
    waves = [noise(0.5, 1), noise(0.9, 2)]
    with torch.inference_mode():
        below = target.advance(target.front(waves), 0, 2)
        for split, whole in zip(target.logits(target.advance(below, 2, LAYERS)), logits(target, waves), strict=True):
            assert torch.equal(split, whole)


def test_every_registered_ctc_family_is_tested():
    tested = {getattr(transformers, f"{kind}Config").model_type for kind, _ in FAMILIES.values()}
    assert tested | {"hubert", "whisper"} == {name for name, family in TARGETS.items() if "text" in family.readouts}
