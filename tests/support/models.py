"""Tiny random models made from real transformers configs, saved as published files are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    BertConfig,
    BertModel,
    GenerationConfig,
    HubertConfig,
    HubertForCTC,
    ViTConfig,
    ViTModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from mam.models.beats import BeatsModel

WIDTH, HEADS, LAYERS, SOURCE_LAYERS = 32, 4, 3, 4
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "'"]
BEATS_CFG = {
    "input_patch_size": 16,
    "embed_dim": 16,
    "conv_bias": False,
    "encoder_layers": LAYERS,
    "encoder_embed_dim": WIDTH,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": HEADS,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "num_buckets": 32,
    "max_distance": 80,
    "gru_rel_pos": True,
    "finetuned_model": False,
    "predictor_class": 5,
}


def widen(model: torch.nn.Module, seed: int) -> None:
    """Random weights large enough for attention to matter: transformers starts at 0.02, where λ hardly shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed_positions" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5 * 1.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def rename_tensors(folder: Path, rename: Callable[[str], str]) -> None:
    """Give the tensors of a saved model the names that published files have."""
    path = folder / "model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def make_hubert(folder: Path, norm: str = "group", width: int = WIDTH) -> Path:
    torch.manual_seed(0)
    config = HubertConfig(
        vocab_size=len(LETTERS),
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        conv_dim=[16] * 7,
        conv_bias=norm == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = HubertForCTC(config).eval()
    widen(model, 1)
    model.save_pretrained(folder)
    # Published files have the weight norm of the positional convolution under its old names.
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, published in old.items():
        rename_tensors(folder, lambda name, new=new, published=published: name.replace(new, published))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json", word_delimiter_token="|", do_lower_case=False)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer", do_normalize=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def make_bert(
    folder: Path,
    prefix: str = "",
    width: int = WIDTH,
    layers: int = SOURCE_LAYERS,
    heads: int = HEADS,
    intermediate: int = 48,
    seed: int = 2,
) -> Path:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
    )
    model = BertModel(config).eval()
    widen(model, seed + 1)
    model.save_pretrained(folder)
    rename_tensors(folder, lambda name: prefix + name)
    return folder


def make_whisper(folder: Path, languages: Sequence[str] = (), seconds: int = 4) -> Path:
    """English-only, or with the special tokens of a multilingual one in their order; it hears ``seconds`` at once."""
    torch.manual_seed(4)
    told = [*languages, *(("translate", "transcribe") if languages else ())]
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in told), "<|notimestamps|>"]
    stamps = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    vocabulary = {chr(i): n for n, i in enumerate([*range(33, 127), 0x120])}  # 0x120 is a blank in byte-level BPE
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.add_tokens(stamps)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16, chunk_length=seconds).save_pretrained(folder)
    end, start, *ids, plain = (tokenizer.convert_tokens_to_ids(token) for token in specials)
    by_name = dict(zip(told, ids, strict=True))
    multilingual = {
        "lang_to_id": {f"<|{code}|>": by_name[code] for code in languages},
        "task_to_id": {task: by_name[task] for task in ("translate", "transcribe") if languages},
        "suppress_tokens": list(range(start, len(tokenizer))),  # a random model would write them amid its text
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        max_source_positions=50 * seconds,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=2,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_target_positions=64,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    widen(model, 5)
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=bool(languages),
        **(multilingual if languages else {}),
        no_timestamps_token_id=plain,
        max_length=24,
        max_initial_timestamp_index=50,
    )
    model.save_pretrained(folder)
    return folder


def make_beats(path: Path, labels: list[str] | None = None, **changes: object) -> Path:
    """A tiny random BEATs in the original format."""
    torch.manual_seed(6)
    model = BeatsModel(BEATS_CFG | changes, None if labels is None else dict(enumerate(labels)))
    widen(model, 7)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save_checkpoint(path)
    return path


def make_vit(folder: Path) -> Path:
    torch.manual_seed(8)
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=SOURCE_LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        image_size=8,
        patch_size=4,
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    widen(model, 9)
    model.save_pretrained(folder)
    return folder


def make_ast(folder: Path) -> Path:
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        num_mel_bins=32,
        max_length=128,
        num_labels=3,
        id2label={0: "Dog", 1: "Rain", 2: "Sine wave"},
        label2id={"Dog": 0, "Rain": 1, "Sine wave": 2},
    )
    model = ASTForAudioClassification(config).eval()
    widen(model, 1)
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)
    return folder
