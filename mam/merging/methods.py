"""Methods that merge a layer of the target with a layer of the source. Pure functions; λ=0 never reaches them.

Methods with ``needs_base`` compare two models that were fine-tuned from the same one, the base. They take and return
task vectors τ = W - W_0 instead of weights; see `mam.merging.task_vectors`. A speech model and a text model have no
common ancestor, so that W_s - W_t is not a task vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from mam.errors import ConfigError, choices
from mam.merging.controls import Place
from mam.merging.options import METHOD_KEYS, MethodOptions
from mam.merging.tables import METHODS, MethodTraits, summary_of
from mam.registry import refuse_bare, refuse_called, register

Projection: TypeAlias = tuple[Tensor, Tensor | None]  # weight [out, in], bias [out] or None; fp32


@dataclass(frozen=True)
class LayerSide:
    """One side of a merge at one layer; ``parts`` has weight ``[d, d]`` and bias ``[d]`` of ``q``, ``k``, ``v``, ``o``.

    Either both sides have a bias or neither. ``head_width`` is d_h of the side's own model, whose logits are divided by
    √d_h. ``moments`` has, for methods that need them, the mean of x xᵀ over the inputs x of each projection, ``[d,
    d]``, fp64. ``options`` are the parameters of the method, and ``place`` gives it random numbers for this layer.
    """

    parts: Mapping[str, Projection]
    heads: int = 1
    head_width: int = 1
    moments: Mapping[str, Tensor] = field(default_factory=dict)
    options: MethodOptions = field(default_factory=MethodOptions)
    place: Place = field(default_factory=lambda: Place(seed=0, draw=0))


Merge = Callable[[LayerSide, LayerSide, float], dict[str, Projection]]
Mix = Callable[[Tensor, Tensor, float], Tensor]


ARGUMENTS = "target, source, lam"
MERGES: dict[str, Merge] = {}  # the functions, by the names in METHODS


def method(function: Mix) -> Mix:
    """Register ``function`` (target, source, λ) -> merged, which merges every weight and bias separately.

    Tensors are fp32 and of equal shape.
    """
    refuse_called("method", function)

    def merge(target: LayerSide, source: LayerSide, lam: float) -> dict[str, Projection]:
        return {part: _each(function, own, source.parts[part], lam) for part, own in target.parts.items()}

    traits = MethodTraits(summary_of(function))
    register("method", function.__name__, function, (METHODS, traits), (MERGES, merge), takes=ARGUMENTS)
    return function


def layer_method(
    needs_moments: bool = False,
    joins_qk: bool = False,
    needs_base: bool = False,
    is_random: bool = False,
    reads: Sequence[str] = (),
) -> Callable[[Merge], Merge]:
    """Register a function (target layer, source layer, λ) -> merged projections.

    The traits of mam's own methods are in `mam.merging.tables`; plug-ins pass theirs here. A method that needs moments
    reads ``alpha`` unless ``reads`` says otherwise.
    """

    refuse_bare("layer_method", needs_moments)
    unknown = set(reads) - METHOD_KEYS
    if unknown:
        raise ConfigError(f"layer_method: {choices(sorted(unknown))} in reads= are not keys of method")

    def add(function: Merge) -> Merge:
        keys = tuple(reads) or (("alpha",) if needs_moments else ())
        traits = MethodTraits(summary_of(function), needs_moments, joins_qk, needs_base, is_random, reads=keys)
        register(
            "method", function.__name__, function, (METHODS, traits), (MERGES, function), takes="target, source, lam"
        )
        return function

    return add


@method
def linear(target: Tensor, source: Tensor, lam: float) -> Tensor:
    """Linear interpolation (MAM): W = (1-λ) W_t + λ W_s (Sundar et al., arXiv 2312.14378). Any shape, fp32."""
    return target.lerp(source, lam)


@method
def reparam(target: Tensor, source: Tensor, lam: float) -> Tensor:
    """Addition of the source: W = W_t + λ W_s (Multimodal Pathway, CVPR 2024). Any shape, fp32.

    Zhang et al., "Multimodal Pathway: improve Transformers with irrelevant data from other modalities", arXiv
    2401.14405, cross-modal re-parameterization: λ of every linear layer of attention and of the feed-forward block is
    learnt from 0, as ``parts=qkvof train=lmam lam=0 train.lam.per=part train.lam.constraint=none`` does. The source is
    frozen.
    """
    return target.add(source, alpha=lam)


@method
def slerp(target: Tensor, source: Tensor, lam: float) -> Tensor:
    """Spherical interpolation: W = [sin((1-λ)Ω) W_t + sin(λΩ) W_s] / sin Ω, Ω the angle between the two.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, applied to whole tensors. Unrelated tensors
    are nearly orthogonal; unlike with `linear`, they do not shrink. Without an angle (zeros, parallel tensors) the
    result is that of `linear`.
    """
    own, other = target.double(), source.double()
    lengths = own.norm() * other.norm()
    cosine = float((own * other).sum() / lengths) if lengths else 1.0
    angle = torch.tensor(min(1.0, max(-1.0, cosine)), dtype=torch.float64).acos()
    sine = angle.sin()
    if sine < 1e-6:
        return linear(target, source, lam)
    merged: Tensor = (((1 - lam) * angle).sin() / sine * own + (lam * angle).sin() / sine * other).to(target.dtype)
    return merged


@method
def norm_matched(target: Tensor, source: Tensor, lam: float) -> Tensor:
    """The source rescaled to the target's norm: W = (1-λ) W_t + λ (‖W_t‖/‖W_s‖) W_s, with Frobenius norms."""
    length = source.double().norm()
    scaled: Tensor = (source.double() * (target.double().norm() / length)).to(target.dtype) if length else source
    return target.lerp(scaled, lam)


@layer_method()
def regmean(target: LayerSide, source: LayerSide, lam: float) -> dict[str, Projection]:
    """Least squares on activations: W = [(1-λ) W_t G_t + λ W_s G_s] [(1-λ) G_t + λ G_s]⁻¹; linear for biases.

    G is the mean of x xᵀ over each model's own inputs. W minimises (1-λ) E‖(W-W_t) x_t‖² + λ E‖(W-W_s) x_s‖². Jin et
    al., "Dataless knowledge fusion by merging weights of language models", ICLR 2023, equation 2, with their
    off-diagonal factor as ``alpha``. They sum where mam averages, so that λ does not depend on the amount of input.
    """
    merged: dict[str, Projection] = {}
    for part, (weight, bias) in target.parts.items():
        other, other_bias = source.parts[part]
        ours, theirs = ((1 - lam) * _damped(target, part), lam * _damped(source, part))
        right = weight.double() @ ours + other.double() @ theirs
        # W A = B with A symmetric. A is singular in directions without input; the solution has least norm there.
        solved = torch.linalg.lstsq(ours + theirs, right.T, driver="gelsd").solution.T
        new_bias = None if bias is None or other_bias is None else linear(bias, other_bias, lam)
        merged[part] = solved.to(weight.dtype), new_bias
    return merged


@layer_method()
def qk_product(target: LayerSide, source: LayerSide, lam: float) -> dict[str, Projection]:
    """Merges the product of Q and K: the best Q and K for (1-λ) M_t + λ M_s, M = W_Qᵀ W_K per head; V linear.

    Logits depend on Q and K only through M, so averaging W_Q and W_K separately adds cross terms without a meaning. M
    is augmented with the biases, [W_Q b_Q]ᵀ [W_K b_K], and the source's is scaled by √(d_h,t / d_h,s), since logits are
    divided by √d_h. The mixture has rank 2 d_h. W_Q and W_K are its best factors of rank d_h (Eckart & Young 1936),
    from an SVD.
    """
    merged: dict[str, Projection] = {
        part: _each(linear, own, source.parts[part], lam) for part, own in target.parts.items() if part not in "qk"
    }
    scale = (target.head_width / source.head_width) ** 0.5
    sides = [(augmented(side.parts["q"]), augmented(side.parts["k"])) for side in (target, source)]
    queries, keys = [], []
    for head in range(target.heads):
        (own_q, own_k), (other_q, other_k) = (
            tuple(matrix.chunk(target.heads)[head] for matrix in side) for side in sides
        )
        q, k = product_factors([((1 - lam), own_q, own_k), (lam * scale, other_q, other_k)], len(own_q))
        queries.append(q)
        keys.append(k)
    for part, rows in (("q", queries), ("k", keys)):
        merged[part] = _without_column(rows, target.parts[part])
    return merged


@layer_method()
def task_arithmetic(target: LayerSide, source: LayerSide, lam: float) -> dict[str, Projection]:
    """Sum of task vectors: W = W_0 + scale (τ_t + τ_s) at λ=1, τ = W - W_0 (Ilharco et al., ICLR 2023).

    "Editing models with task arithmetic", section 2: θ_new = θ_pre + scale Σ τ. They choose the scale on held-out data.
    Mixing the result with the target by λ is mam's own, in this and in the other methods that need a base.
    """
    scale = target.options.scale
    return _each_part(lambda own, other: scale * (own + other), target, source, lam)


@layer_method()
def ties(target: LayerSide, source: LayerSide, lam: float) -> dict[str, Projection]:
    """Task vectors trimmed to their largest entries, averaged where signs agree (TIES; Yadav et al., NeurIPS 2023).

    "TIES-merging: resolving interference when merging models", algorithm 1: W = W_0 + scale τ at λ=1. Of each task
    vector the share ``density`` with the largest magnitudes is kept. An entry's sign is that of the sum of both, and τ
    is the mean of those that are not zero and have this sign. They trim the vector of all weights of a model; here, as
    in mergekit, each tensor is trimmed by itself.
    """
    density, scale = target.options.density, target.options.scale

    def full(own: Tensor, other: Tensor) -> Tensor:
        kept = torch.stack([_largest(own, density), _largest(other, density)])
        agrees = (kept.sign() == kept.sum(0).sign()) & (kept != 0)
        merged: Tensor = scale * (kept * agrees).sum(0) / agrees.sum(0).clamp_min(1)
        return merged

    return _each_part(full, target, source, lam)


@layer_method()
def dare(target: LayerSide, source: LayerSide, lam: float) -> dict[str, Projection]:
    """Task vectors with random entries dropped and the others divided by density, summed (Yu et al., ICML 2024).

    "Language models are super Mario: absorbing abilities from homologous models as a free lunch", equations 1 and 2,
    with the drop rate 1 - ``density``, followed by task arithmetic: W = W_0 + scale (τ_t m_t + τ_s m_s) / density at
    λ=1. Entries are kept independently of each other, and m_t and m_s differ.
    """
    density, scale = target.options.density, target.options.scale
    merged: dict[str, Projection] = {}
    for part, own in target.parts.items():
        generator = replace(target.place, part=part).generator("dare")

        def full(own: Tensor, other: Tensor, generator: torch.Generator = generator) -> Tensor:
            kept = (torch.rand(2, *own.shape, generator=generator) < density).to(own.dtype)
            return scale / density * (own * kept[0] + other * kept[1])

        merged[part] = _each(_towards(full), own, source.parts[part], lam)
    return merged


def product_factors(terms: list[tuple[float, Tensor, Tensor]], rank: int) -> tuple[Tensor, Tensor]:
    """Return Q and K ``[rank, n]`` such that QᵀK is nearest to Σ c q_iᵀ k_i; q_i and k_i are ``[m_i, n]``, fp64.

    Uses QR of both stacks and the SVD of the product of their triangular factors, at a cost of n (Σ m)² instead of n³.
    """
    left = torch.cat([c * q for c, q, _ in terms])  # [m, n]
    right = torch.cat([k for _, _, k in terms])
    (basis_l, upper_l), (basis_r, upper_r) = torch.linalg.qr(left.T), torch.linalg.qr(right.T)
    u, s, vh = torch.linalg.svd(upper_l @ upper_r.T)
    root = s[:rank].sqrt()[:, None]
    q, k = root * (basis_l @ u[:, :rank]).T, root * (basis_r @ vh[:rank].T).T
    if len(q) < rank:  # fewer inputs than the head has rows
        q, k = (torch.cat([factor, factor.new_zeros(rank - len(factor), factor.shape[1])]) for factor in (q, k))
    return q, k


def augmented(projection: Projection) -> Tensor:
    """Return ``[W b]``, ``[out, in + 1]``, fp64, with zeros for a missing bias."""
    weight, bias = projection
    column = weight.new_zeros(len(weight)) if bias is None else bias
    return torch.cat([weight, column[:, None]], dim=1).double()


def _without_column(rows: list[Tensor], like: Projection) -> Projection:
    """Join heads' rows ``[d_h, in + 1]`` into one weight, and a bias if ``like`` has one."""
    weight, bias = like
    matrix = torch.cat(rows).to(weight.dtype)
    return matrix[:, :-1].contiguous(), None if bias is None else matrix[:, -1].contiguous()


def _damped(layer: LayerSide, part: str) -> Tensor:
    """Return the moments of a projection's inputs with the off-diagonal multiplied by ``alpha``."""
    moments = layer.moments[part]
    alpha = layer.options.alpha
    return alpha * moments + (1 - alpha) * moments.diagonal().diag()


def _largest(tensor: Tensor, density: float) -> Tensor:
    """Return the tensor with the share ``density`` of its entries that has the largest magnitudes, others as 0."""
    count = max(1, round(density * tensor.numel()))
    places = tensor.abs().flatten().topk(count).indices
    kept = torch.zeros_like(tensor).flatten()
    kept[places] = tensor.flatten()[places]
    return kept.view_as(tensor)


def _towards(full: Callable[[Tensor, Tensor], Tensor]) -> Mix:
    """Return the mix that goes from the target's tensor at λ=0 to ``full`` (target, source) at λ=1."""
    return lambda own, other, lam: own.lerp(full(own, other), lam)


def _each_part(
    full: Callable[[Tensor, Tensor], Tensor], target: LayerSide, source: LayerSide, lam: float
) -> dict[str, Projection]:
    """Mix every weight and bias with what ``full`` makes of both sides."""
    return {part: _each(_towards(full), own, source.parts[part], lam) for part, own in target.parts.items()}


def _each(mix: Mix, own: Projection, other: Projection, lam: float) -> Projection:
    (weight, bias), (other_weight, other_bias) = own, other
    new_bias = None if bias is None or other_bias is None else mix(bias, other_bias, lam)
    return mix(weight, other_weight, lam), new_bias
