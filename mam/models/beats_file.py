"""The original file format of BEATs: a pickle with ``cfg``, ``model`` and, for fine-tuned models, ``label_dict``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mam.errors import CheckpointError, choices
from mam.files import atomic_path
from mam.models.checkpoints import DOWNLOAD
from mam.models.pickles import unpickle


def read_original(path: Path) -> dict[str, Any]:
    """Read ``{"cfg", "model"}`` and, if present, ``"label_dict"`` from a BEATs checkpoint.

    Raises:
        CheckpointError: The file is missing, damaged, contains more than plain data, or is not BEATs.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file. {DOWNLOAD}")
    saved = unpickle(path, also=[Namespace])  # the type in which training scripts save their arguments
    if isinstance(saved.get("cfg"), Namespace):
        saved["cfg"] = vars(saved["cfg"])
    for part in ("cfg", "model"):
        if not isinstance(saved.get(part), dict):
            raise CheckpointError(
                f"{path}: is not a BEATs checkpoint. It has no {part!r}, only: {choices([str(k) for k in saved])}."
            )
    if not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in saved["model"].items()):
        raise CheckpointError(f"{path}: is not a BEATs checkpoint. 'model' must map names to tensors.")
    labels = saved.get("label_dict")
    if labels is not None and not (
        isinstance(labels, dict) and all(isinstance(i, int) and isinstance(name, str) for i, name in labels.items())
    ):
        raise CheckpointError(f"{path}: its label_dict does not map class numbers to labels.")
    return saved


def write_original(path: Path, saved: Mapping[str, Any]) -> None:
    """Write the format of `read_original` atomically; keys whose value is None are left out."""
    with atomic_path(path) as temporary:
        torch.save({key: value for key, value in saved.items() if value is not None}, temporary)


def refuse_misfit(path: Path, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if ``weights`` do not match the names and shapes of ``expected``, a model's state.

    It also rejects weights that are not finite, and layers whose tables of relative positions differ.
    """
    problems = [f"lacks {name}" for name in expected if name not in weights]
    problems += [
        f"has {name}, which does not belong to a model with this cfg" for name in weights if name not in expected
    ]
    for name in expected.keys() & weights.keys():
        if expected[name].shape != weights[name].shape:
            problems.append(f"{name} is {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}")
        elif not weights[name].is_floating_point() or not torch.isfinite(weights[name]).all():
            problems.append(f"{name} has NaN or infinite values")
    tables = [weights[name] for name in sorted(weights) if "relative_attention_bias" in name]
    if not problems and any(not torch.equal(tables[0], table) for table in tables):
        problems.append("its layers have different tables of relative positions, but BEATs shares one")
    if problems:
        rest = f" (and {len(problems) - 6} more)" if len(problems) > 6 else ""
        raise CheckpointError(f"{path}: is not a complete BEATs checkpoint: {'; '.join(sorted(problems)[:6])}{rest}.")
