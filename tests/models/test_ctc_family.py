"""Each CTC family against its own plain transformers model: merged, alone, batched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from support.audio import noise
from support.merging import linear_plan, logits, merge_by_hand
from support.models import HEADS, LAYERS, LETTERS, WIDTH, rename_tensors, widen
from transformers import (
    AutoFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
)

from mam.merge.merger import Merger
from mam.models.checkpoints import locate
from mam.models.ctc import Hubert
from mam.models.sources import Source
from mam.models.targets import TARGETS, load_target

COMMON = {
    "vocab_size": len(LETTERS),
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WAVES = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
FAMILIES = {  # name -> (class of config and model, options)
    "mhubert": ("Hubert", WAVES | {"feat_extract_norm": "group", "conv_pos_batch_norm": True}),
    "mhubert-large": ("Hubert", WAVES | LARGE | {"conv_pos_batch_norm": True}),
    "hubert-without-norms": ("Hubert", WAVES | {"feat_proj_layer_norm": False, "adapter_attn_dim": 8}),
    "wav2vec2-adapters": ("Wav2Vec2", WAVES | LARGE | {"adapter_attn_dim": 8}),
    "wav2vec2-base": ("Wav2Vec2", WAVES | {"feat_extract_norm": "group"}),
    "wav2vec2-large": ("Wav2Vec2", WAVES | LARGE),
    "wav2vec2-adapter": ("Wav2Vec2", WAVES | LARGE | {"add_adapter": True, "output_hidden_size": WIDTH}),
    "wavlm-base": ("WavLM", WAVES | {"feat_extract_norm": "group"}),
    "wavlm-large": ("WavLM", WAVES | LARGE),
    "data2vec": ("Data2VecAudio", WAVES | {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 5}),
    "conformer-relative": ("Wav2Vec2Conformer", WAVES | LARGE | {"position_embeddings_type": "relative"}),
    "conformer-rotary": ("Wav2Vec2Conformer", WAVES | LARGE | {"position_embeddings_type": "rotary"}),
    "w2v-bert": ("Wav2Vec2Bert", {"feature_projection_input_dim": 160, "position_embeddings_type": "relative_key"}),
    "w2v-bert-adapter": (
        "Wav2Vec2Bert",
        {"add_adapter": True, "output_hidden_size": WIDTH, "use_intermediate_ffn_before_adapter": True},
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> Path:
    """A tiny random model of one family, saved with its processor."""
    kind, options = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCTC")(getattr(transformers, f"{kind}Config")(**COMMON | options)).eval()
    widen(model, 11)
    shake_batch_norms(model)
    model.save_pretrained(folder)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, published in old.items():
        rename_tensors(folder, lambda name, new=new, published=published: name.replace(new, published))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(folder / "vocab.json", word_delimiter_token="|").save_pretrained(folder)
    (SeamlessM4TFeatureExtractor() if kind == "Wav2Vec2Bert" else Wav2Vec2FeatureExtractor()).save_pretrained(folder)
    return folder


def shake_batch_norms(model: torch.nn.Module) -> None:
    """Give batch norms statistics of a training: fresh ones (0 and 1) would leave silence silent."""
    generator = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))


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
