"""Rotations within heads: closed form, symmetry of attention, and what they need."""

from __future__ import annotations

import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from support.alignment import HEADS, D, pairs, scrambled
from support.runs import jobs, mam

from mam.errors import UnfitError
from mam.evaluation.workbench import Workbench
from mam.merging.basis import Basis, moved
from mam.merging.controls import Place, haar
from mam.merging.fits import FITS, cosine, distance
from mam.runs.run import run

FIT = FITS["rotate_heads"].fit
SIZE = D // HEADS.target


def turned(depth: int = 3) -> Basis:
    """Another rotation in every head of every layer."""
    rows = {}
    for layer in range(depth):
        for kind in ("qk", "v"):
            turns = [haar(SIZE, Place(layer, head, layer, kind), "test") for head in range(HEADS.target)]
            rows[layer, kind] = torch.block_diag(*turns)
    return Basis(rows=rows)


def test_it_finds_the_rotations_that_were_hidden():
    given = scrambled(pairs(), turned())
    assert max(cosine(one) for one in given) < 0.9
    for one in moved(given, FIT(given, HEADS)):
        assert distance(one, HEADS) < 1e-6
        torch.testing.assert_close(one.source["o"][0], one.target["o"][0], rtol=1e-4, atol=1e-5)


def test_each_rotation_is_scipys():
    given = pairs()
    basis = FIT(given, HEADS)
    for one in given:
        for kind, parts in (("qk", "qk"), ("v", "vo")):
            for head in range(HEADS.target):
                rows = slice(head * SIZE, (head + 1) * SIZE)
                ours, theirs = (
                    torch.cat([side[part][0].double()[rows] if part != "o" else side[part][0].double().T[rows]
                               for part in parts], 1).numpy()
                    for side in (one.target, one.source)
                )  # fmt: skip
                expected, _ = orthogonal_procrustes(theirs.T, ours.T)  # min ‖theirsᵀ R - oursᵀ‖
                found = basis.rows[one.layer, kind][rows, rows].numpy()
                assert abs(found.T - expected).max() < 1e-9
        whole = basis.rows[one.layer, "qk"]
        assert torch.equal(whole[:SIZE, SIZE:], torch.zeros(SIZE, D - SIZE, dtype=torch.float64))


def test_attention_of_the_source_is_what_it_was():
    """Logits of every head, and what values and output projection make of an input, to rounding."""
    given = pairs(depth=1)
    before, after = given[0].source, moved(given, FIT(given, HEADS))[0].source
    x = torch.randn(5, D, dtype=torch.float64)
    sides = []
    for side in (before, after):
        states = {part: torch.nn.functional.linear(x, *(one.double() for one in side[part])) for part in "qkv"}
        q, k, v = (states[part].view(5, HEADS.target, SIZE).transpose(0, 1) for part in "qkv")
        mixed = ((q @ k.transpose(1, 2)).softmax(-1) @ v).transpose(0, 1).reshape(5, D)
        sides.append((q @ k.transpose(1, 2), mixed @ side["o"][0].double().T))
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_heads_must_correspond(whisper, minilm, tmp_path):
    (job,) = jobs(["model=whisper_minilm", f"model.target={whisper}", f"model.source={minilm}", "align=rotate_heads"])
    with pytest.raises(UnfitError, match="align=rotate_heads: needs equally many heads, but"):
        run(job, Workbench())


def test_it_runs():
    shown = mam("run", "align=rotate_heads", "lam=0.2", "data.limit=2", "evaluate.draws=100")
    assert shown.returncode == 0 and "aligned by rotate_heads" in shown.stdout, shown.stderr
