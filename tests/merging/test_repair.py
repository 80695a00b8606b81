"""Repair: spread of logits and size of values by hand, by simulation, in models, files and runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plans import plan_by_hand
from support.runs import data_words, jobs, mam, once, pair_words

from mam.errors import ConfigError, MergeError
from mam.evaluation.workbench import Workbench
from mam.merging.methods import Projection
from mam.merging.plan import plan_merge
from mam.merging.repair import repaired
from mam.merging.shape import Shape
from mam.runs.export import export

D, HEADS, FRAMES = 8, 2, 400


def layer(seed: int, size: float = 1.0) -> dict[str, Projection]:
    generator = torch.Generator().manual_seed(seed)
    return {
        part: (size * torch.randn(D, D, generator=generator), size * torch.randn(D, generator=generator))
        for part in "qkv"
    }


def frames(seed: int) -> torch.Tensor:
    x = torch.randn(FRAMES, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x @ torch.randn(D, D, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64) + 1


def second(x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = torch.nn.functional.pad(x, (0, 1), value=1.0)
    return dict.fromkeys("qkv", x.T @ x / len(x))


def measured(side: dict[str, Projection], x: torch.Tensor, heads=range(HEADS)) -> tuple[float, float]:
    """From all pairs of frames: the mean square of a query's logits about their mean over keys, and the mean ‖v‖²."""
    states = {part: torch.nn.functional.linear(x, *(one.double() for one in side[part])) for part in "qkv"}
    q, k, v = (states[part].view(len(x), HEADS, -1).transpose(0, 1)[list(heads)] for part in "qkv")
    spread = (q @ k.transpose(1, 2)).var(-1, correction=0).mean(1).sum()
    return float(spread), float(v.square().sum(-1).mean(1).sum())


def test_one_by_one_by_hand():
    """q = 2x, k = 3x, v = x + 1 against 1x, 1x, 2x, for x = ±1: logits ±6 and ±1, values (4 + 0)/2 and 4."""
    own = {"q": (torch.tensor([[2.0]]), None), "k": (torch.tensor([[3.0]]), None),
           "v": (torch.tensor([[1.0]]), torch.tensor([1.0]))}  # fmt: skip
    new = {"q": (torch.tensor([[1.0]]), None), "k": (torch.tensor([[1.0]]), None),
           "v": (torch.tensor([[2.0]]), torch.tensor([0.0]))}  # fmt: skip
    plan = plan_by_hand(Shape(1, 1, 1), repair="logits")
    found = repaired(plan, 0, own, new, dict.fromkeys("qkv", torch.eye(2, dtype=torch.float64)))
    assert float(found["q"][0]) == float(found["k"][0]) == pytest.approx(6**0.5)
    assert float(found["v"][0]) == pytest.approx(2 * 0.5**0.5) and found["q"][1] is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["qkv", "qk", "q", "k", "v", "kv"]), st.sampled_from([None, (1,)]))
def test_spread_and_size_are_the_targets(seed, parts, heads):
    own, x = layer(seed), frames(seed + 3)
    merged = {part: layer(seed + 7, size=0.3)[part] for part in parts}
    plan = plan_by_hand(Shape(1, D, HEADS), parts=parts, heads=heads, repair="logits")
    if heads:  # as `merged_layer` leaves the other head
        kept = slice(0, D // HEADS)
        for part, (weight, bias) in merged.items():
            weight[kept], bias[kept] = own[part][0][kept], own[part][1][kept]
    found = own | repaired(plan, 0, own, merged, second(x))
    chosen = range(HEADS) if heads is None else heads
    assert measured(found, x, chosen) == pytest.approx(measured(own, x, chosen), rel=1e-4)
    if heads:
        assert all(torch.equal(found[part][0][kept], own[part][0][kept]) for part in parts)
    if parts in ("qk", "qkv"):  # shared by the two
        ratios = [float((found[part][0][-1] / merged[part][0][-1]).mean()) for part in "qk"]
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-5)


def test_none_left_is_named():
    own = layer(0)
    zeros = {part: (torch.zeros(D, D), torch.zeros(D)) for part in "qkv"}
    with pytest.raises(MergeError, match="is almost zero and cannot be rescaled"):
        repaired(plan_by_hand(Shape(1, D, HEADS), repair="logits"), 0, own, zeros, second(frames(1)))


@pytest.fixture
def words(hubert_group, bert, clips):
    recordings = Path("recordings")
    recordings.mkdir()
    for path in sorted(clips.glob("*.wav"))[:3]:
        shutil.copy(path, recordings)
    return [*pair_words(hubert_group, bert), *data_words(clips), "calibration.audio=recordings", "repair=logits"]


def test_shrinking_is_undone_and_what_else_a_merge_does_is_kept(words):
    """With zeros in the source's place nothing is left of the merge, whatever λ."""
    bench = Workbench()
    pair = None
    for control, is_left in (("shrink", False), ("none", True)):
        (job,) = jobs([*words, "lam=0.4", f"control={control}"])
        pair = bench.pair(job.config)
        before = [block.projection(part).weight.detach().clone() for block in pair.target.blocks for part in "qkv"]
        pair.merger.apply(plan_merge(job.config, *pair.shapes))
        after = [block.projection(part).weight.detach() for block in pair.target.blocks for part in "qkv"]
        furthest = max(float((one - other).abs().max()) for one, other in zip(before, after, strict=True))
        assert (furthest > 0.01) == is_left, (control, furthest)
        assert is_left or furthest < 1e-5
        pair.merger.restore()


def test_a_run_and_its_export_are_repaired(words, tmp_path):
    outcome = once([*words, "lam=0.3"])
    assert outcome.result.merge.repair == "logits"
    plain = once([*words, "lam=0.3", "repair=none", "calibration.audio=train"])
    name = "attention.csv"
    assert (outcome.folder / name).read_text() != (plain.folder / name).read_text()
    assert "repaired by logits" in mam("run", *words, "lam=0.3", "force=true").stdout
    export(outcome.folder, tmp_path / "out")
    assert "rescaled by `repair=logits`" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "mam_merge.json").read_text())["repair"] == "logits"
    again = once([*words, f"model.target={tmp_path / 'out'}", "lam=0", "repair=none", "calibration.audio=train"])
    assert again.result.metrics == outcome.result.metrics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["repair=other"], "repair=other: not known"),
        (["repair=none"], "calibration.audio: has no effect without .*repair=logits"),
        (["train=lmam"], "repair=logits: cannot be used with train=lmam, which merges again at every step"),
        (["bias=false"], "repair=logits: rescales biases too, so it needs bias=true. Leave bias=false out"),
        (["parts=o"], "repair=logits: rescales Q, K and V, but parts=o merges none of them. Set repair=none"),
    ],
)
def test_what_means_nothing_is_refused(change, message, words):
    with pytest.raises(ConfigError, match=message):
        jobs([*words, *change])


def test_verbs_that_read_files_only_say_so(words):
    files = [word for word in words if not word.startswith("data")]
    for verb in (["inspect"], ["merge", "out=x"]):
        shown = mam(verb[0], *files, *verb[1:])
        assert shown.returncode == 1 and "repair=logits: needs activations" in shown.stderr
    assert not Path("x").exists()
