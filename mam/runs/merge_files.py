"""Merging files into files, tensor by tensor, without a model in memory, whatever the size of the checkpoint."""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mam.config.schema import Config
from mam.errors import CheckpointError, RecordError
from mam.evaluation.model_pair import reader_of
from mam.files import write_json
from mam.locks import abandoned, in_use
from mam.merging.activations import Activations
from mam.merging.adapted_source import AdaptedSources, finite
from mam.merging.layers import LayerMerges
from mam.merging.merger import MergeReport
from mam.merging.mixing import Effect
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.selection import letters_of
from mam.merging.tables import METHODS
from mam.merging.task_vectors import readers
from mam.models.beats_file import read_original, write_original
from mam.models.checkpoints import INDEX, PICKLE, SETTINGS, SINGLE, Checkpoint
from mam.models.parents import Parents
from mam.models.pickles import DTYPES
from mam.models.sources import Source

RECORD = "mam_merge.json"
OLD = ".old"  # ends the name of a folder that is being replaced
_BYTES = {word: dtype.itemsize for dtype, word in DTYPES.items()}


def plan_of_files(config: Config, parents: Parents, partners: Mapping[int, int] | None = None) -> MergePlan:
    """Return the plan of a merge of these checkpoints; for ``partners`` and errors see `plan_merge`."""
    target, source, *further = (Source(checkpoint).shape for checkpoint in (parents.target, *parents.sources))
    return plan_merge(config, target, source, config.seed, partners=partners, further=further)


def merge_checkpoint(
    parents: Parents, plan: MergePlan, out: Path, activations: Activations | None = None
) -> MergeReport:
    """Write the target merged with the source into the new folder ``out``, loadable by transformers without mam.

    The files keep the target's names and shards, as safetensors; BEATs stays in its original format. Merged tensors are
    stored in fp32, so that nothing is rounded after the merge. All others keep their dtype and their bytes. Memory use
    is a few times the Q, K and V of a layer (for BEATs the whole file; for an aligned source all of its Q, K and V).
    ``out/mam_merge.json`` records the merge.

    Args:
        parents: the checkpoints.
        plan: the merge.
        out: a new or empty folder.
        activations: for methods and alignments that need them.

    Raises:
        RecordError: ``out`` exists and is not empty.
        MergeError, CheckpointError: the two do not fit, or a file is damaged. Nothing is left in ``out`` then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordError(f"out={out}: exists and is not an empty folder. Choose another folder.")
    target, merge = parents.target, _FileMerge(parents, plan, activations)
    with new_folder(out) as folder:
        weight_map: dict[str, str] = {}
        for path in target.weights:
            names = [name for name, file in target.tensor_files.items() if file == path]
            safetensors = path.with_suffix(".safetensors").name.replace("pytorch_model", "model")
            written = path.name if target.is_beats else safetensors
            weight_map |= dict.fromkeys(names, written)
            open_writer = _BeatsWriter if target.is_beats else _SafetensorsWriter
            with open_writer(folder / written, target, names, merge.changes.intersection(names)) as writer:
                for name in names:
                    writer.add(merge.tensor(name))
        if not target.is_beats:
            _copy_settings(target, folder, weight_map)
        report = MergeReport.of(merge.effects)
        write_json(folder / RECORD, _record(parents, plan, report))
    return report


class _FileMerge:
    """The merge of two checkpoints, tensor by tensor of the target's files."""

    def __init__(self, parents: Parents, plan: MergePlan, activations: Activations | None = None) -> None:
        self._target, self._plan, self._own = parents.target, plan, Source(parents.target)
        own, base = partial(finite, self._own.read, "target"), reader_of(parents.base)
        reads = [Source(checkpoint).read for checkpoint in parents.sources]
        sources = AdaptedSources(plan, *readers(plan, own, reads, base), activations)
        self._merges = LayerMerges(plan, own, sources, base, activations)
        self._layers: dict[str, int] = {}  # layer of each tensor that changes
        for layer in plan.merged_layers:
            for part in plan.parts_at(layer):
                name = self._own.place(layer, part).name
                self._layers[f"{name}.weight"] = layer
                if plan.has_bias(part):
                    self._layers[f"{name}.bias"] = layer
        self._merged: dict[str, Tensor] = {}  # a whole layer is merged at once, but may be spread over several files
        self.effects: list[Effect] = []

    @property
    def changes(self) -> set[str]:
        """Names of the tensors that are merged."""
        return set(self._layers)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor to be written: merged in fp32, or as stored."""
        if name not in self._layers:
            return self._target.read_as_stored(name)
        if name not in self._merged:
            self._merge_layer(self._layers[name])
        return self._merged.pop(name)

    def _merge_layer(self, layer: int) -> None:
        effects, merged = self._merges.merge(layer)
        self.effects += effects
        for part, (weight, bias) in merged.items():
            name = self._own.place(layer, part).name
            self._merged[f"{name}.weight"] = weight
            if bias is not None:
                self._merged[f"{name}.bias"] = bias


def _copy_settings(target: Checkpoint, folder: Path, weight_map: dict[str, str]) -> None:
    """Copy the files next to the weights, and write the index if there are several weight files."""
    for path in sorted(path for pattern in SETTINGS for path in target.folder.glob(pattern)):
        if not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)
    if target.weights[0].name not in (SINGLE, PICKLE):
        size = sum((folder / name).stat().st_size for name in set(weight_map.values()))
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _record(parents: Parents, plan: MergePlan, report: MergeReport) -> dict[str, Any]:
    options = plan.options
    return {
        **{role: {"id": c.id, "revision": c.revision, "sha256": c.sha256} for role, c in parents.named},
        "method": options.method.name,
        **{key: getattr(options.method, key) for key in METHODS[options.method.name].reads},
        "heads": None if plan.heads is None else list(plan.heads),
        "control": options.control,
        "align": options.align,
        "repair": options.repair,
        "project": plan.project,
        "lam": list(plan.lams),
        "pairs": {str(layer): other for layer, other in plan.pairs.items()},
        **({"lam_by_source": [list(one.lams) for one in plan.each]} if plan.further else {}),
        "where": options.where,
        "parts": letters_of(plan.parts),
        "bias": options.bias,
        "tensors": report.tensors,
        "notes": list(report.notes),
    }


class _SafetensorsWriter:
    """A writer of one safetensors file, tensor by tensor. The library's own writer needs all of them in memory.

    Format: 8 bytes little-endian length of the header, the header as JSON (name -> dtype, shape, offsets), the bytes.
    """

    def __init__(self, path: Path, checkpoint: Checkpoint, names: list[str], in_fp32: set[str]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name in names:
            shape, dtype = checkpoint.headers[name]
            dtype = "F32" if name in in_fp32 else dtype
            if dtype not in _BYTES:
                raise CheckpointError(f"{checkpoint.id}: {name} has dtype {dtype}, which mam cannot write.")
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
        """Write the next tensor, in the order of the names, with the dtype and shape in the header."""
        self._file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


class _BeatsWriter:
    """A writer that collects the tensors of a BEATs file and writes them with its ``cfg``, in the original format."""

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
        """Collect the next tensor, in the order of the names."""
        self._tensors.append(tensor)


@contextmanager
def new_folder(out: Path, replaces: bool = False) -> Iterator[Path]:
    """Yield a folder beside ``out`` that is renamed to ``out`` when complete, and removed after an error.

    With ``replaces``, existing content of ``out`` is removed on success, and is there again after an error. What a
    killed process left beside ``out`` is removed, or put back if it is the content that was to be replaced.
    """
    temporary: Path | None = None
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        _remove_left(out)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
        temporary.chmod(0o755)
        with in_use(temporary):
            yield temporary
            aside = Path(f"{temporary}{OLD}")
            if replaces and out.exists():
                out.replace(aside)
            try:
                temporary.replace(out)  # an empty folder is replaced
            except OSError:
                if aside.exists():
                    aside.replace(out)
                raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise RecordError(
            f"out={out}: cannot be written ({error.strerror}). Free disk space or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_left(out: Path) -> None:
    """Remove what killed processes left beside ``out``; put its content back if one was killed while replacing it."""
    for path in abandoned(out.absolute().parent.glob(f".{escape(out.name)}.????????{OLD}")):
        if not out.exists():
            path.replace(out)
        shutil.rmtree(path, ignore_errors=True)
    for path in abandoned(out.absolute().parent.glob(f".{escape(out.name)}.????????")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
