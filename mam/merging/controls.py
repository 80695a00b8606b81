"""Merges whose source carries no knowledge; an improvement that they share is not due to the source's content.

A control replaces the source's W_s by another tensor S, so that every method mixes it in the usual way. W_t is the
target's tensor; weights are ``[out, in]``, biases ``[out]``, all fp32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mam.merging.tables import CONTROLS, ControlTraits, summary_of
from mam.registry import refuse_bare, register


@dataclass(frozen=True)
class Place:
    """The location of a tensor and the number of the draw, which together determine its random numbers."""

    seed: int
    draw: int
    layer: int = -1
    part: str = ""

    def generator(self, what: str) -> torch.Generator:
        """Return a generator that depends only on the place and ``what``, not on the order of merging."""
        name = f"{self.seed}/{self.draw}/{self.layer}/{self.part}/{what}"
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=False) >> 1
        return torch.Generator().manual_seed(number)


Substitute = Callable[[Tensor, Tensor, Place], Tensor]


SUBSTITUTES: dict[str, Substitute] = {}  # the functions, by the names in CONTROLS


def control(
    parts: str = "qkvofn",
    layers: str = "paired",
    is_random: bool = False,
    has_structure: bool = False,
    is_drawn_first: bool = False,
    lacks: str = "",
) -> Callable[[Substitute], Substitute]:
    """Register a function (source tensor, target tensor, place) -> S under its own name; see `ControlTraits`.

    The traits of mam's own controls are in `mam.merging.tables`; plug-ins pass theirs here.
    """

    refuse_bare("control", parts)

    def add(function: Substitute) -> Substitute:
        traits = ControlTraits(summary_of(function), parts, layers, is_random, has_structure, is_drawn_first, lacks)
        name = function.__name__.removesuffix("_")
        register("control", name, function, (CONTROLS, traits), (SUBSTITUTES, function), takes="source, target, place")
        return function

    return add


@control()
def none(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """No control: the source itself."""
    return source


@control()
def shrink(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Zeros: W = (1-λ) W_t. Softer attention (logits scale with (1-λ)²) and smaller values, without any source."""
    return source.new_zeros(source.shape)


@control()
def shrink_qk(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Zeros for Q and K only: softer attention, unchanged values."""
    return source.new_zeros(source.shape)


@control()
def shrink_v(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Zeros for V only: smaller values, unchanged attention."""
    return source.new_zeros(source.shape)


@control()
def add(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Adds the source without shrinking the target: W = W_t + λ W_s."""
    return target + source


@control()
def random_iid(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Gaussian noise with the mean and standard deviation of each source tensor."""
    normal = torch.randn(source.shape, generator=place.generator(f"iid{source.ndim}"), dtype=source.dtype)
    substitute: Tensor = normal * source.std(correction=0) + source.mean()
    return substitute


@control()
def random_spectrum(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Noise with the source's singular values: U Σ Vᵀ with Haar-random U and V; a bias keeps its norm."""
    if source.ndim == 1:
        normal = torch.randn(source.shape, generator=place.generator("bias"), dtype=torch.float64)
        bias: Tensor = (normal * (source.double().norm() / normal.norm())).to(source.dtype)
        return bias
    singular = torch.linalg.svdvals(source.double())
    u, v = (haar(n, place, side) for n, side in zip(source.shape, ("u", "v"), strict=True))
    rank = len(singular)
    substitute: Tensor = ((u[:, :rank] * singular) @ v[:, :rank].T).to(source.dtype)
    return substitute


@control()
def aligned_random(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """Like random_spectrum, but drawn in the source's basis, then projected and aligned like the source.

    What an alignment finds in noise is then found here too. ``target`` is not read.
    """
    return random_spectrum(source, target, place)


@control()
def rotate(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """The source in a random basis: W_s R with one Haar-random R for all layers; W_qᵀW_k keeps its spectrum."""
    writes = place.part in ("o", "f2")  # to the stream, which the others read
    if source.ndim == 1 and not writes:  # the bias is in the basis of its head or of the feed-forward block
        return source
    rotation = haar(len(source) if writes else source.shape[-1], Place(place.seed, place.draw), "shared")
    if writes:
        return (rotation.T @ source.double()).to(source.dtype)
    return (source.double() @ rotation).to(source.dtype)


@control()
def shuffle_layers(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """The source's layers in random order, so that no layer keeps its partner."""
    return source


@control()
def self_(source: Tensor, target: Tensor, place: Place) -> Tensor:
    """The next layer of the target itself (for the last layer, the first): trained attention of the same modality."""
    return source


@lru_cache(maxsize=8)
def haar(n: int, place: Place, what: str) -> Tensor:
    """Return a Haar-random orthogonal matrix ``[n, n]``, fp64.

    Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS 54, 2007: QR of a
    Gaussian matrix, columns signed by the diagonal of R.
    """
    with torch.inference_mode(False):
        q, r = torch.linalg.qr(torch.randn(n, n, generator=place.generator(what), dtype=torch.float64))
        matrix: Tensor = q * r.diagonal().sign()
        return matrix


def shuffled(depth: int, seed: int, draw: int) -> list[int]:
    """Return a random permutation of ``depth`` layers (at least 2) without fixed points."""
    generator = Place(seed, draw).generator("layers")
    while True:
        order: list[int] = torch.randperm(depth, generator=generator).tolist()
        if all(layer != partner for layer, partner in enumerate(order)):
            return order
