"""Fine-tunes of one checkpoint, as if trained: the same tensors, each moved a little."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def sibling(base: Path, folder: Path, seed: int, step: float = 0.02) -> Path:
    """A copy of a checkpoint in which every attention projection is moved by normal numbers."""
    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if "attention" in name:
            tensor += step * torch.randn(tensor.shape, generator=generator)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
