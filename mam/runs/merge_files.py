"""A merge from files to files: tensor by tensor, without a model in memory, whatever the size of the checkpoint."""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mam.errors import CheckpointError, RecordError
from mam.files import write_json
from mam.merge.activations import Activations, Moments
from mam.merge.adapted_source import Given, finite, layer_of
from mam.merge.merger import MergeReport, moments_of
from mam.merge.methods import METHODS
from mam.merge.mixing import changed as changed_numbers
from mam.merge.mixing import merged_layer
from mam.merge.plan import MergePlan
from mam.models.beats_file import read_original, write_original
from mam.models.checkpoints import DTYPES, INDEX, PICKLE, SETTINGS, SINGLE, Checkpoint
from mam.models.sources import Source

RECORD = "mam_merge.json"
_BYTES = {word: dtype.itemsize for dtype, word in DTYPES.items()}


def merge_checkpoint(
    target: Checkpoint, source: Source, plan: MergePlan, out: Path, activations: Activations | None = None
) -> MergeReport:
    """Write ``target`` merged with ``source`` into the new folder ``out``, loadable by transformers without mam.

    The files keep the target's names and shards, as safetensors; BEATs stays in its original format. Merged tensors are
    stored in fp32, so that nothing is rounded after the merge; all others keep their dtype and their bytes. Memory: a
    few times the Q, K and V of a layer (of BEATs: the whole file; of an aligned source all of its Q, K and V).
    ``activations`` are for methods and alignments that need them. ``out/mam_merge.json`` says what was merged with
    what.

    Raises:
        RecordError: ``out`` exists and is not empty.
        MergeError, CheckpointError: the two do not fit, or a file is damaged; nothing is left then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordError(f"out={out}: exists and is not an empty folder. Choose another name.")
    own = Source(target)
    given, layer_with = Given(plan, partial(finite, own.read, "target"), source.read, activations), dict[str, int]()
    for layer in plan.layers:
        for part in plan.parts if plan.lams[layer] else ():
            name = own.places[layer][part].name
            layer_with[f"{name}.weight"] = layer
            if plan.has_bias(part):
                layer_with[f"{name}.bias"] = layer
    to_change = set(layer_with)
    moments = activations.moments() if activations and METHODS[plan.method].needs_moments else None
    merged: dict[str, Tensor] = {}  # a layer is made at once, and what is left of it may stand in a later file
    tensors = parameters = 0
    notes: dict[str, None] = {}
    with new_folder(out) as folder:
        weight_map: dict[str, str] = {}
        for path in target.weights:
            names = [name for name, file in target.tensor_files.items() if file == path]
            safetensors = path.with_suffix(".safetensors").name.replace("pytorch_model", "model")
            written = path.name if target.is_beats else safetensors
            weight_map |= dict.fromkeys(names, written)
            changed = to_change.intersection(names)
            open_writer = _BeatsWriter if target.is_beats else _SafetensorsWriter
            with open_writer(folder / written, target, names, changed) as writer:
                for name in names:
                    if name in changed and name not in merged:
                        merged |= _merged(own, given, plan, layer_with[name], moments, notes)
                    tensor = merged.pop(name) if name in changed else target.read_as_stored(name)
                    writer.add(tensor)
                    tensors += name in changed
                    parameters += changed_numbers(plan, tensor) if name in changed else 0
        beside = [] if target.is_beats else [path for pattern in SETTINGS for path in target.folder.glob(pattern)]
        for setting in sorted(beside):
            if not setting.name.endswith(".index.json"):
                shutil.copyfile(setting, folder / setting.name)
        if not target.is_beats and target.weights[0].name not in (SINGLE, PICKLE):
            size = sum((folder / name).stat().st_size for name in set(weight_map.values()))
            write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})
        report = MergeReport(tensors, parameters, tuple(notes))
        write_json(folder / RECORD, _record(target, source, plan, report))
    return report


def _merged(
    own: Source, given: Given, plan: MergePlan, layer: int, moments: Moments | None, notes: dict[str, None]
) -> dict[str, Tensor]:
    """Weights and, where they are merged too, biases of one layer, by name, fp32."""
    ours = layer_of(partial(finite, own.read, "target"), layer, plan.parts)
    theirs = layer_of(given.read, layer, plan.parts)
    projections, said = merged_layer(plan, layer, ours, theirs, moments_of(plan, layer, given, moments))
    notes |= dict.fromkeys(said)
    made: dict[str, Tensor] = {}
    for part, (weight, bias) in projections.items():
        name = own.places[layer][part].name
        made |= {f"{name}.weight": weight} | ({} if bias is None else {f"{name}.bias": bias})
    return made


def _record(target: Checkpoint, source: Source, plan: MergePlan, report: MergeReport) -> dict[str, Any]:
    sides = {"target": target, "source": source.checkpoint}
    return {
        **{side: {"id": c.id, "revision": c.revision, "sha256": c.sha256} for side, c in sides.items()},
        "method": plan.method,
        "alpha": plan.alpha if METHODS[plan.method].needs_moments else None,
        "heads": None if plan.heads is None else list(plan.heads),
        "control": plan.control,
        "align": plan.align,
        "project": plan.project,
        "lam": list(plan.lams),
        "pairs": {str(layer): other for layer, other in plan.pairs.items()},
        "parts": "".join(plan.parts),
        "bias": plan.bias,
        "tensors": report.tensors,
        "notes": list(report.notes),
    }


class _SafetensorsWriter:
    """Writes one safetensors file tensor by tensor; the library's own writer wants all of them in memory at once.

    Format: 8 bytes little-endian length of the header, the header as JSON (name -> dtype, shape, offsets), the bytes.
    """

    def __init__(self, path: Path, checkpoint: Checkpoint, names: list[str], in_fp32: set[str]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name in names:
            shape, dtype = checkpoint.headers[name]
            dtype = "F32" if name in in_fp32 else dtype
            if dtype not in _BYTES:
                raise CheckpointError(f"{checkpoint.id}: {name} is {dtype}, which mam does not write.")
            size = math.prod(shape) * _BYTES[dtype]
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        content = json.dumps(header).encode()
        content += b" " * (-len(content) % 8)
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(content)) + content)

    def __enter__(self) -> _SafetensorsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, tensor: Tensor) -> None:
        """The next tensor, in the order of the names; dtype and shape as announced."""
        self._file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


class _BeatsWriter:
    """Collects the tensors of a BEATs file and writes them with its ``cfg``, in the original format."""

    def __init__(self, path: Path, checkpoint: Checkpoint, names: list[str], in_fp32: set[str]) -> None:
        self._path, self._names, self._tensors = path, names, list[Tensor]()
        self._saved = read_original(checkpoint.weights[0])

    def __enter__(self) -> _BeatsWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            weights = dict(zip(self._names, self._tensors, strict=True))
            write_original(self._path, self._saved | {"model": weights})

    def add(self, tensor: Tensor) -> None:
        """The next tensor, in the order of the names."""
        self._tensors.append(tensor)


@contextmanager
def new_folder(out: Path, replaces: bool = False) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` when it is complete and goes when it is not.

    With ``replaces`` what is in ``out`` then goes.
    """
    temporary: Path | None = None
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
        temporary.chmod(0o755)
        yield temporary
        aside = Path(f"{temporary}.old")
        if replaces and out.exists():
            out.replace(aside)
        temporary.replace(out)  # an empty folder is replaced
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise RecordError(f"out={out}: cannot be written ({error.strerror}). Free space or choose another.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
