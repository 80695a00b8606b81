"""Similarity of the layers of both models on common inputs: recordings, and their transcripts for a source of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mam.data.audio import Wave
from mam.evaluation.calibration import encoded, inputs_of_source
from mam.evaluation.projection_inputs import ProjectionInputs, inputs_of_target
from mam.merging.similarity import LayerSimilarities, similarities
from mam.models.families import load_target
from mam.models.sources import Source
from mam.models.targets import Target


@torch.no_grad()
def compare_layers(
    target: Target, source: Source, waves: Sequence[Wave], texts: Sequence[str] | None, seed: int
) -> list[LayerSimilarities]:
    """Compare the layers of both models by what their attention reads, averaged over the frames of each input.

    Recordings that the target takes in pieces are left out.

    Args:
        target: the unmerged target.
        source: a source of speech or audio, which takes the same recordings, or of text.
        waves: the recordings.
        texts: their transcripts, for a source of text.
        seed: of the permutations.

    Raises:
        MergeError: too few recordings, or features that are the same for all of them.
        CheckpointError: a source that cannot be run.
    """
    ours, kept = [], []
    for i, wave in enumerate(waves):
        for states in inputs_of_target(target, [wave]):  # one, or none
            ours.append(_features(states))
            kept.append(i)
    if texts is None:
        other = load_target(source.checkpoint, "features")
        inputs: Iterator[ProjectionInputs] = inputs_of_target(other, [waves[i] for i in kept])
    else:
        inputs = inputs_of_source(source, encoded(source.checkpoint, [texts[i] for i in kept]))
    theirs = [_features(states) for states in inputs]
    return similarities(_by_layer(ours), _by_layer(theirs), seed)


def partners_of(found: Sequence[LayerSimilarities]) -> Mapping[int, int]:
    """Return the source layer that is most similar to each target layer by CKA."""
    (by_cka,) = (one for one in found if one.measure == "cka")
    return {best.layer: best.source_layer for best in by_cka.best}


def _features(states: ProjectionInputs) -> list[Tensor]:
    """Return the mean of what Q reads over frames, ``[d]``, for every layer."""
    layers = sorted(layer for layer, part in states if part == "q")
    return [states[layer, "q"].mean(0) for layer in layers]


def _by_layer(examples: Sequence[list[Tensor]]) -> list[Tensor]:
    """Return ``[n, d]`` for every layer."""
    return [torch.stack(layer) for layer in zip(*examples, strict=True)]
