"""The choices of a merge by name, with the requirements of each; this module does not import torch.

The functions are registered in `mam.merging.methods`, `controls`, `align` and `project`. Their names and traits are
here so that a configuration can be checked, and help printed, before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class MethodTraits:
    """The traits of a method.

    Attributes:
        summary: One line for display.
        needs_moments: Whether it needs moments of the inputs of both sides.
        joins_qk: Whether it merges Q and K together, so that they cannot be merged separately.
        needs_base: Whether it merges task vectors, the differences of both sides from a common ancestor.
        is_random: Whether it is drawn several times.
        is_learnable: Whether its λ can be learnt with ``train=lmam``.
        reads: The keys of `MethodOptions` that it reads.
    """

    summary: str
    needs_moments: bool = False
    joins_qk: bool = False
    needs_base: bool = False
    is_random: bool = False
    is_learnable: bool = False
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControlTraits:
    """The traits of a control: which tensors it merges, and what it keeps of the source.

    Attributes:
        summary: One line for display.
        parts: The letters of ``parts`` that it merges; the others stay the target's.
        layers: The origin of W_s: the ``paired`` layer of the source, a ``shuffled`` one, or the next layer of the
            target (``own``).
        is_random: Whether it is drawn several times.
        has_structure: Whether the merged tensors can be aligned with the target's: a trained attention, or noise that
            is aligned for comparison.
        is_drawn_first: Whether its substitute is projected and aligned in the source's place.
        lacks: The letters of ``parts`` for which it has no substitute, so that they cannot be merged with it.
    """

    summary: str
    parts: str = "qkvofn"
    layers: str = "paired"
    is_random: bool = False
    has_structure: bool = False
    is_drawn_first: bool = False
    lacks: str = ""


@dataclass(frozen=True)
class AlignmentTraits:
    """The traits of an alignment.

    ``needs_heads`` requires equally many heads on both sides, ``needs_activations`` statistics on common inputs, and
    ``needs_output`` output projections of both.
    """

    summary: str
    needs_heads: bool = False
    needs_activations: bool = False
    needs_output: bool = False


METHODS: dict[str, MethodTraits] = {
    "linear": MethodTraits(
        "Linear interpolation (MAM): W = (1-λ) W_t + λ W_s (Sundar et al., arXiv 2312.14378). Any shape, fp32.",
        is_learnable=True,
    ),
    "reparam": MethodTraits(
        "Addition of the source: W = W_t + λ W_s (Multimodal Pathway, CVPR 2024). Any shape, fp32.",
        is_learnable=True,
    ),
    "slerp": MethodTraits(
        "Spherical interpolation: W = [sin((1-λ)Ω) W_t + sin(λΩ) W_s] / sin Ω, Ω the angle between the two."
    ),
    "norm_matched": MethodTraits(
        "The source rescaled to the target's norm: W = (1-λ) W_t + λ (‖W_t‖/‖W_s‖) W_s, with Frobenius norms."
    ),
    "regmean": MethodTraits(
        "Least squares on activations: W = [(1-λ) W_t G_t + λ W_s G_s] [(1-λ) G_t + λ G_s]⁻¹; linear for biases.",
        needs_moments=True,
        reads=("alpha",),
    ),
    "qk_product": MethodTraits(
        "Merges the product of Q and K: the best Q and K for (1-λ) M_t + λ M_s, M = W_Qᵀ W_K per head; V linear.",
        joins_qk=True,
    ),
    "task_arithmetic": MethodTraits(
        "Sum of task vectors: W = W_0 + scale (τ_t + τ_s) at λ=1, τ = W - W_0 (Ilharco et al., ICLR 2023).",
        needs_base=True,
        reads=("scale",),
    ),
    "ties": MethodTraits(
        "Task vectors trimmed to their largest entries, averaged where signs agree (TIES; Yadav et al., NeurIPS 2023).",
        needs_base=True,
        reads=("density", "scale"),
    ),
    "dare": MethodTraits(
        "Task vectors with random entries dropped and the others divided by density, summed (Yu et al., ICML 2024).",
        needs_base=True,
        is_random=True,
        reads=("density", "scale"),
    ),
}

CONTROLS: dict[str, ControlTraits] = {
    "none": ControlTraits("No control: the source itself.", has_structure=True),
    "shrink": ControlTraits(
        "Zeros: W = (1-λ) W_t. Softer attention (logits scale with (1-λ)²) and smaller values, without any source."
    ),
    "shrink_qk": ControlTraits("Zeros for Q and K only: softer attention, unchanged values.", parts="qk"),
    "shrink_v": ControlTraits("Zeros for V only: smaller values, unchanged attention.", parts="v"),
    "add": ControlTraits(
        "Adds the source without shrinking the target: W = W_t + λ W_s.",
        has_structure=True,
    ),
    "random_iid": ControlTraits(
        "Gaussian noise with the mean and standard deviation of each source tensor.", is_random=True
    ),
    "random_spectrum": ControlTraits(
        "Noise with the source's singular values: U Σ Vᵀ with Haar-random U and V; a bias keeps its norm.",
        is_random=True,
    ),
    "aligned_random": ControlTraits(
        "Like random_spectrum, but drawn in the source's basis, then projected and aligned like the source.",
        is_random=True,
        has_structure=True,
        is_drawn_first=True,
    ),
    "rotate": ControlTraits(
        "The source in a random basis: W_s R with one Haar-random R for all layers; W_qᵀW_k keeps its spectrum.",
        is_random=True,
        lacks="n",
    ),
    "shuffle_layers": ControlTraits(
        "The source's layers in random order, so that no layer keeps its partner.",
        layers="shuffled",
        is_random=True,
        has_structure=True,
    ),
    "self": ControlTraits(
        "The next layer of the target itself (for the last layer, the first): trained attention of the same modality.",
        layers="own",
        has_structure=True,
    ),
}

ALIGNMENTS: dict[str, AlignmentTraits] = {
    "none": AlignmentTraits("No alignment."),
    "heads": AlignmentTraits(
        "Reorders the heads of each layer to match the spectra of the target's heads (Hungarian assignment).",
        needs_heads=True,
    ),
    "rotate_heads": AlignmentTraits(
        "Rotates within each head: R = U Vᵀ from the SVD of W_Qt W_Qsᵀ + W_Kt W_Ksᵀ; a second R for V and O.",
        needs_heads=True,
        needs_output=True,
    ),
    "procrustes": AlignmentTraits(
        "One orthogonal R for the hidden states that minimises Σ‖W_t - W_s R‖² over paired Q, K and V (closed form)."
    ),
    "procrustes_activations": AlignmentTraits(
        "One orthogonal R that minimises Σ‖X_t - X_s R‖² over the inputs of all paired layers, on the same recordings.",
        needs_activations=True,
    ),
    "permute": AlignmentTraits(
        "Permutations of hidden dimensions, of heads and within heads that maximise Σ⟨W_t, W_s⟩."
    ),
    "ot": AlignmentTraits(
        "Soft assignments (Sinkhorn), Ŵ = T_outᵀ W T_in: of hidden dimensions, then of the rows of Q and K, and of V."
    ),
}

PROJECTS: dict[str, str] = {
    "svd": "Matches principal directions by their strength: P = E_t E_sᵀ, E the eigenvectors of Σ WᵀW over Q, K and V.",
    "procrustes": "The isometry that maximises the inner product of the source's Q, K and V with the target's.",
    "random": "A Haar-random isometry, which depends only on the seed.",
}


REPAIRS: dict[str, str] = {
    "none": "No rescaling.",
    "logits": "Rescales Q, K and V until logits have the target's spread and values its size, on calibration audio.",
}


PER = ("global", "layer", "part", "head")  # the scope of a learnt λ
CONSTRAINTS = ("none", "clamp", "sigmoid", "tanh")  # bounds of a learnt λ, see `mam.merging.learnable`


def summary_of(function: Callable[..., object]) -> str:
    """Return the first line of a function's docstring, for functions registered by plug-ins."""
    return (function.__doc__ or function.__name__).strip().splitlines()[0]
