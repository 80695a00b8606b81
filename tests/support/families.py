"""Tiny random models of every CTC family, saved as published ones are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from support.models import HEADS, LAYERS, LETTERS, WIDTH, rename_tensors, widen

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


def make_ctc(folder: Path, name: str) -> Path:
    """The family ``name`` of `FAMILIES`, with its processor."""
    kind, options = FAMILIES[name]
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
