"""Checkpoints whose tensors are not mergeable weights: quantised checkpoints, and adapters for other checkpoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mam.errors import CheckpointError, choices
from mam.models.settings import read_settings

if TYPE_CHECKING:
    from mam.models.checkpoints import Checkpoint

PLAIN = ("F64", "F32", "F16", "BF16")  # the dtypes of plain weights, by safetensors' names
# Tensors that quantisers store beside or instead of a weight: bitsandbytes, GPTQ, AWQ, float8, compressed-tensors,
# quanto, HQQ, EETQ, AQLM.
QUANTISED = re.compile(
    r"\.(SCB|weight_format|absmax|nested_absmax|quant_map|qweight|qzeros|scales|g_idx|weight_scale|weight_scale_inv"
    r"|weight_scales|weight_packed|weight_shape|weight_zero_point|input_scale|weight\._data|weight\._scale|W_q"
    r"|codebooks)$|\.quant_state\."
)
ADAPTER_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_adapter.bin",
    "pytorch_lora_weights.safetensors",
)
ADAPTER = re.compile(
    r"(^|\.)(lora|loha|lokr|hada|oft|boft|vera|ia3|fourierft|randlora)_|\.base_layer\.|^base_model\.model\."
)
DEQUANTISE = (
    "Use the original checkpoint, or load it with transformers and the quantiser's library, call"
    " model.dequantize() and save_pretrained(FOLDER), and give FOLDER"
)
MERGE = (
    "Merge it first: PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(FOLDER), and give"
    " FOLDER"
)


def refuse_adapters(folder: Path, name: str) -> None:
    """Raise CheckpointError for a folder with a PEFT adapter, with or without the weights that it belongs to.

    transformers loads the adapter if peft is installed and ignores it otherwise.
    """
    files = [file for file in ADAPTER_FILES if (folder / file).exists()]
    if files:
        raise CheckpointError(
            f"{name}: has an adapter ({files[0]}), which changes Q, K and V of its base model."
            f" {MERGE}. If the adapter is merged already, remove {choices(files)}."
        )


def refuse_unmergeable(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if the weights are quantised or belong to an adapter; only headers are read."""
    config = checkpoint.config
    sections = {"": config} | {f"{key}.": part for key, part in config.items() if isinstance(part, dict)}
    for place, section in sections.items():
        method = section.get("quantization_config")
        if method:
            kind = method.get("quant_method") if isinstance(method, dict) else None
            raise CheckpointError(
                f"{checkpoint.id}: its config.json has {place}quantization_config{f' ({kind})' if kind else ''}, so its"
                f" weights cannot be merged. {DEQUANTISE}. If its weights are not quantised,"
                " remove quantization_config."
            )
    for file in ("quantize_config.json", "quant_config.json"):
        if not checkpoint.is_beats and read_settings(checkpoint.folder / file):
            raise CheckpointError(f"{checkpoint.id}: has a {file}, so its weights are quantised. {DEQUANTISE}.")
    for name, (shape, dtype) in checkpoint.headers.items():
        if ADAPTER.search(name):
            raise CheckpointError(f"{checkpoint.id}: {name} is part of an adapter and not of a full model. {MERGE}.")
        is_weight = len(shape) > 1 and name.endswith(("weight", "weight_v", "original1"))
        is_weight = is_weight or (len(shape) == 1 and name.endswith(".bias"))
        if QUANTISED.search(name) or (is_weight and dtype not in PLAIN):
            raise CheckpointError(
                f"{checkpoint.id}: {name} has dtype {dtype}, so its weights are quantised or not real numbers."
                f" {DEQUANTISE}."
            )
