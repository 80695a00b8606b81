"""Moments of the inputs of both models' layers, measured on data of each model's own modality.

Labels are never read. Inputs are run one by one, so that there is no padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from mam.data.audio import RATE, Wave, read
from mam.errors import CheckpointError, DataError, MamError, UnfitError, first_line
from mam.evaluation.calibration_files import inputs
from mam.evaluation.projection_inputs import InputRecorder, ProjectionInputs, inputs_of_target
from mam.merging.activations import Moments, Sums
from mam.merging.options import Calibration
from mam.models.blocks import find_blocks
from mam.models.checkpoints import Checkpoint
from mam.models.families import load_target
from mam.models.sources import Source
from mam.models.targets import Target
from mam.small_files import read_text

BEHIND_PADDING = (  # model types whose position ids start after the padding id
    *("roberta", "roberta-prelayernorm", "camembert", "data2vec-text", "esm", "mpnet"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod"),
)


def recordings(name: str, key: str, limit: int) -> list[Wave]:
    """Return the first ``limit`` recordings of a folder. Raises DataError for one that cannot be read."""
    return [read(file, RATE, str(file)) for file in inputs(name, key)[:limit]]


@torch.no_grad()
def moments_of_target(target: Target, waves: Sequence[Wave], is_augmented: bool = False) -> Sums:
    """Return the moments of the target in its current, unmerged state: the mean of x xᵀ, if augmented of [x 1]ᵀ [x 1].

    Clips that its encoder takes in pieces are left out.

    Raises:
        DataError: no clip is left.
    """
    return _moments(inputs_of_target(target, waves), target.checkpoint.id, is_augmented)


@torch.no_grad()
def cross_moments(target: Target, source: Source, waves: Sequence[Wave], pairs: Mapping[int, int]) -> dict[int, Tensor]:
    """Return for each pair of layers the mean of x_t x_sᵀ over their inputs, ``[d_t, d_s]``, fp64.

    Both models run on the same recordings.

    Raises:
        UnfitError: the source makes another number of frames.
        DataError: no recording is left.
    """
    other = target
    if source.checkpoint.fingerprint != target.checkpoint.fingerprint:
        other = load_target(source.checkpoint, "features")
    sums, frames = dict[int, Tensor](), 0
    for ours, theirs in zip(inputs_of_target(target, waves), inputs_of_target(other, waves), strict=True):
        counts = len(ours[0, "q"]), len(theirs[0, "q"])
        if counts[0] != counts[1]:
            raise UnfitError(
                f"align=procrustes_activations: the models give {counts[0]} and {counts[1]} frames for the same"
                " recording. Set align=procrustes, which compares weights"
            )
        frames += counts[0]
        for layer, source_layer in pairs.items():
            sums[layer] = sums.get(layer, 0) + ours[layer, "q"].T @ theirs[source_layer, "q"]
    if not frames:
        raise DataError(
            f"{target.checkpoint.id}: there are no recordings left to measure activations on. Raise calibration.limit"
        )
    return {layer: total / frames for layer, total in sums.items()}


@torch.no_grad()
def moments_of_source(source: Source, calibration: Calibration) -> Sums:
    """Return the moments of the source, which is loaded whole for this.

    Text is read by its tokenizer, images by its processor, recordings as by a target.

    Raises:
        DataError: inputs that do not exist or are not of its modality.
        CheckpointError: a source that cannot be run: weights or tokenizer are missing, or Q, K and V are fused.
    """
    checkpoint, name = source.checkpoint, str(calibration.source)
    key = "calibration.source"
    if source.family.modality in ("speech", "audio"):
        waves = recordings(name, key, calibration.limit)
        return moments_of_target(load_target(checkpoint, "features"), waves)
    read_inputs = {"text": _texts, "image": _images}[source.family.modality]
    examples = read_inputs(checkpoint, inputs(name, key), calibration.limit)
    return _moments(inputs_of_source(source, examples), checkpoint.id)


def inputs_of_source(source: Source, examples: Iterator[dict[str, Tensor]]) -> Iterator[ProjectionInputs]:
    """Yield the inputs of the projections of a source of text or images, example by example.

    Raises:
        CheckpointError: a source that cannot be run: weights are missing, or Q, K and V are fused.
    """
    model = _tower(source)
    try:
        recorder = InputRecorder(find_blocks(model))
    except MamError as error:
        raise CheckpointError(f"{source.checkpoint.id}: its activations cannot be measured. {error}") from error
    for example in examples:
        with recorder.recording():
            frames = int(model(**example).last_hidden_state.shape[1])
        yield recorder.taken(frames)


def _moments(recorded: Iterator[ProjectionInputs], name: str, is_augmented: bool = False) -> Sums:
    """Return the mean of x xᵀ over all frames x, for every layer and part; if augmented, with a 1 at the end of x."""
    sums: dict[tuple[int, str], Tensor] = {}
    frames = 0
    for states in recorded:
        frames += len(states[0, "q"])
        for place, seen in states.items():
            x = torch.nn.functional.pad(seen, (0, 1), value=1.0) if is_augmented else seen
            sums[place] = sums.get(place, 0) + x.T @ x
    if not frames:
        raise DataError(f"{name}: there are no inputs left to measure activations on. Check calibration.source")
    moments: Sums = [{} for _ in range(1 + max(layer for layer, _ in sums))]
    for (layer, part), total in sums.items():
        moments[layer][part] = total / frames
    return moments


def _tower(source: Source) -> Any:
    """Return the source's model, or the half of it whose attention is read. All weights come from the file."""
    checkpoint = source.checkpoint
    try:
        model, info = AutoModel.from_pretrained(
            checkpoint.folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds of errors for an unfit folder
        raise CheckpointError(
            f"{checkpoint.id}: cannot be loaded to measure its activations: {first_line(error)}"
        ) from error
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise CheckpointError(
            f"{checkpoint.id}: lacks {len(missing)} weights, such as {missing[0]}, so its activations would come from"
            " random weights. Use a complete checkpoint, or a method that needs only Q, K and V"
        )
    if getattr(model.config, "mask_ratio", None):
        model.config.mask_ratio = 0.0  # ViT-MAE would use a random quarter of the image
    tower = model if source.family.section is None else getattr(model, source.family.section.replace("config", "model"))
    return tower.eval()


def _texts(checkpoint: Checkpoint, files: Sequence[Path], limit: int) -> Iterator[dict[str, Tensor]]:
    sentences = []
    for file in files:
        try:
            sentences += [line.strip() for line in read_text(file).splitlines() if line.strip()]
        except MamError as error:
            raise DataError(f"calibration.source: {error} This source reads text.") from error
    return encoded(checkpoint, sentences[:limit])


def encoded(checkpoint: Checkpoint, sentences: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Yield the inputs of a text model for each sentence. Raises CheckpointError if its tokenizer cannot be loaded."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:  # many kinds of errors here too
        raise CheckpointError(f"{checkpoint.id}: its tokenizer cannot be loaded: {first_line(error)}") from error
    behind = int(tokenizer.pad_token_id or 0) + 1 if checkpoint.model_type in BEHIND_PADDING else 0
    longest = min(int(tokenizer.model_max_length), checkpoint.number("max_position_embeddings") - behind)
    for sentence in sentences:
        yield dict(tokenizer(sentence, return_tensors="pt", truncation=True, max_length=longest))


def _images(checkpoint: Checkpoint, files: Sequence[Path], limit: int) -> Iterator[dict[str, Tensor]]:
    from PIL import Image, UnidentifiedImageError

    shape = checkpoint.config.get("vision_config", checkpoint.config)
    size, is_grey = shape.get("image_size", 224), shape.get("num_channels", 3) == 1
    if (checkpoint.folder / "preprocessor_config.json").is_file():
        load: Any = transformers.AutoImageProcessor.from_pretrained  # untyped in transformers
        processor = load(checkpoint.folder, backend="pil")
    else:  # most of these models were trained with values from -1 to 1
        processor = transformers.ViTImageProcessorPil(size={"height": size, "width": size})
    for file in files[:limit]:
        try:
            with Image.open(file) as image:
                example = dict(processor(image.convert("RGB"), return_tensors="pt"))
                yield example | {"pixel_values": example["pixel_values"].mean(1, keepdim=True)} if is_grey else example
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"calibration.source: {file} is not an image. This source needs images") from error


def measured(target: Sums, source: Sums, parts: Sequence[str], names: tuple[str, str]) -> Moments:
    """Return the moments of both sides. Raises CheckpointError if inputs of a merged projection were not recorded."""
    for side, name in zip((target, source), names, strict=True):
        refuse_unseen(side, parts, name)
    return Moments(target, source)


def refuse_unseen(sums: Sums, parts: Sequence[str], name: str) -> None:
    """Raise CheckpointError if inputs of one of these projections were not recorded."""
    unseen = [part for part in parts if part not in sums[0]]
    if unseen:
        raise CheckpointError(
            f"{name}: the inputs of {', '.join(unseen).upper()} cannot be recorded. Leave {', '.join(unseen)} out"
            " of parts"
        )
