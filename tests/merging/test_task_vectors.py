"""Task vectors: the methods on 2×2 by hand, the way through models, files and runs, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.encoder import random_source, small_encoder
from support.models import make_hubert
from support.plans import plan_by_hand
from support.runs import data_words, jobs, mam, once, pair_words
from support.siblings import sibling
from transformers import HubertForCTC

import mam as package
from mam.errors import ConfigError, MergeError, UnfitError
from mam.evaluation.workbench import Workbench
from mam.merging.controls import Place
from mam.merging.merger import Merger
from mam.merging.methods import MERGES, LayerSide
from mam.merging.options import MethodOptions
from mam.merging.shape import Shape
from mam.merging.tables import METHODS
from mam.models.blocks import find_blocks
from mam.models.locate import locate
from mam.models.parents import Parents
from mam.runs.export import export
from mam.runs.merge_files import merge_checkpoint
from mam.runs.run import run
from mam.runs.shapes import with_shapes

NEEDING = [name for name, traits in METHODS.items() if traits.needs_base]
OWN = torch.tensor([[4.0, -3.0], [1.0, 0.5]])
OTHER = torch.tensor([[2.0, 5.0], [-6.0, 0.1]])


def merged(method: str, lam: float = 1.0, place: Place | None = None, **options: float) -> torch.Tensor:
    """What a method makes of the two task vectors above, in the place of Q."""
    parameters = MethodOptions(method, **options)
    place = place or Place(0, 0, 0)
    own, other = (LayerSide({"q": (tau, None)}, options=parameters, place=place) for tau in (OWN, OTHER))
    return MERGES[method](own, other, lam)["q"][0]


def test_task_arithmetic_by_hand():
    assert merged("task_arithmetic").tolist() == [[6, 2], [-5, pytest.approx(0.6)]]
    # From the target's (4, -3, 1, .5) a quarter of the way to .4 of the sum, (2.4, .8, -2, .24).
    torch.testing.assert_close(merged("task_arithmetic", 0.25, scale=0.4), torch.tensor([[3.6, -2.05], [0.25, 0.435]]))


def test_ties_by_hand():
    # Of four entries half is kept: 4, -3 and 5, -6. Signs of the sums: +, +, -; -3 disagrees with 5.
    assert merged("ties", density=0.5).tolist() == [[4, 5], [-6, 0]]
    # All are kept: (4+2)/2; 5 alone, as -3 + 5 > 0; -6 alone; (.5+.1)/2.
    torch.testing.assert_close(merged("ties", density=1.0), torch.tensor([[3.0, 5.0], [-6.0, 0.3]]))
    torch.testing.assert_close(merged("ties", density=1.0, scale=2), torch.tensor([[6.0, 10.0], [-12.0, 0.6]]))
    torch.testing.assert_close(merged("ties", 0.5, density=0.5), torch.tensor([[4.0, 1.0], [-2.5, 0.25]]))
    assert merged("ties", density=0.01).tolist() == [[4, 0], [-6, 0]]  # one entry of each is left
    cancelled = LayerSide({"q": (OWN, None)}), LayerSide({"q": (-OWN, None)})
    assert MERGES["ties"](*cancelled, 1.0)["q"][0].tolist() == [[0, 0], [0, 0]]


def test_dare_drops_and_rescales():
    assert torch.equal(merged("dare"), OWN + OTHER)
    torch.testing.assert_close(merged("dare", 0.5, scale=0.5), OWN.lerp((OWN + OTHER) / 2, 0.5))
    one, other = (merged("dare", place=Place(0, draw, 0), density=0.5) for draw in (0, 1))
    assert torch.equal(one, merged("dare", place=Place(0, 0, 0), density=0.5)) and not torch.equal(one, other)
    possible = {float(a + b) for i in range(4) for a in (0, 2 * OWN.flatten()[i]) for b in (0, 2 * OTHER.flatten()[i])}
    assert set(one.flatten().tolist()) <= possible
    draws = torch.stack([merged("dare", place=Place(0, draw, 0), density=0.5) for draw in range(4000)])
    error = draws.std(0) / 4000**0.5
    assert ((draws.mean(0) - (OWN + OTHER)).abs() < 4 * error).all()  # unbiased
    # The variance of x m / p is x² (1-p) / p, and the two masks are independent.
    torch.testing.assert_close(draws.var(0), OWN**2 + OTHER**2, rtol=0.1, atol=0.02)


def three(width: int = 8, depth: int = 2):
    """A target, and readers of a source and of a base, as in `Merger`."""
    blocks = find_blocks(small_encoder(width, depth))
    return blocks, random_source(width), lambda layer, part: random_source(width)(layer + 10, part)


def test_a_merge_adds_the_base_and_restores_the_target():
    blocks, source, base = three()
    before = {(b.layer, part): b.projection(part).weight.clone() for b in blocks for part in "qkv"}
    biases = {(b.layer, part): b.projection(part).bias.clone() for b in blocks for part in "qkv"}
    merger = Merger(blocks, source, base)
    plan = plan_by_hand(Shape(2, 8, 2), lams=(0.25, 0.5), method="task_arithmetic", scale=0.5)
    merger.apply(plan)
    for (layer, part), own in before.items():
        lam, ancestor, other = plan.lams[layer], base(layer, part), source(layer, part)
        full = ancestor[0] + 0.5 * (own - ancestor[0] + other[0] - ancestor[0])
        torch.testing.assert_close(blocks[layer].projection(part).weight, own.lerp(full, lam))
        bias = biases[layer, part]
        full = ancestor[1] + 0.5 * (bias - ancestor[1] + other[1] - ancestor[1])
        torch.testing.assert_close(blocks[layer].projection(part).bias, bias.lerp(full, lam))
    merger.apply(plan_by_hand(Shape(2, 8, 2), lams=(0.1, 0.1)))  # weights again, not task vectors
    own, other = before[0, "q"], source(0, "q")[0]
    torch.testing.assert_close(blocks[0].q.weight, own.lerp(other, 0.1))
    merger.restore()
    assert all(torch.equal(blocks[layer].projection(part).weight, own) for (layer, part), own in before.items())


@pytest.mark.parametrize("control", ["shrink", "random_spectrum", "add"])
def test_a_control_replaces_the_task_vector_of_the_source(control):
    blocks, source, base = three()
    own, (ancestor, _), (other, _) = blocks[0].q.weight.clone(), base(0, "q"), source(0, "q")
    plan = plan_by_hand(Shape(2, 8, 2), lams=(1, 1), method="task_arithmetic", control=control)
    Merger(blocks, source, base).apply(plan)
    made = blocks[0].q.weight - own  # at λ=1: what stands for τ_s
    if control == "shrink":
        assert made.abs().max() < 1e-6
    elif control == "add":
        torch.testing.assert_close(made, own - ancestor + other - ancestor)
    else:
        torch.testing.assert_close(torch.linalg.svdvals(made), torch.linalg.svdvals(other - ancestor))


def test_a_base_that_does_not_fit_is_named():
    blocks, source, _ = three()
    plan = plan_by_hand(Shape(2, 8, 2), method="ties")
    for base, message in (
        (None, "method=ties: needs a base"),
        (
            random_source(6),
            r"base layer 0, q: the shape of its weight is \(6, 6\), that of the fine-tuned model \(8, 8\)",
        ),
        (
            lambda *place: (source(*place)[0], None),
            r"base layer 0, q: the shape of its bias is missing, that of the fine-tuned model.* \(8,\)",
        ),
        (lambda *place: (source(*place)[0] * torch.nan, source(*place)[1]), "base layer 0, q: has NaN"),
    ):
        with pytest.raises(MergeError, match=message):
            Merger(blocks, source, base).apply(plan)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A base, and two that were fine-tuned from it."""
    root = tmp_path_factory.mktemp("family")
    base = make_hubert(root / "base")
    return base, sibling(base, root / "target", 1), sibling(base, root / "source", 2)


@pytest.fixture
def words(family, clips):
    base, target, source = family
    return [*pair_words(target, source), f"model.source_shape.layers={3}", f"model.base={base}", *data_words(clips)]


@pytest.mark.parametrize("method", NEEDING)
def test_model_file_and_python_merge_alike(method, family, words, tmp_path):
    (job,) = jobs([*words, f"method={method}", "lam=0.4", "seed=3"])
    bench = Workbench()
    pair = bench.pair(job.config)
    plan = package.merging.plan.plan_merge(job.config, *pair.shapes, 3)
    pair.merger.apply(plan)
    base, target, source = family
    merge_checkpoint(Parents(*map(locate, map(str, (target, source, base)))), plan, tmp_path / "out")
    written, before = load_file(tmp_path / "out" / "model.safetensors"), load_file(target / "model.safetensors")
    in_memory = package.merge(
        HubertForCTC.from_pretrained(target), source, 0.4, base=base, seed=3, method=method
    ).state_dict()
    name = "hubert.encoder.layers.1.attention.k_proj.weight"
    assert torch.equal(pair.target.blocks[1].k.weight, written[name]) and torch.equal(in_memory[name], written[name])
    assert not torch.equal(written[name], before[name])
    record = json.loads((tmp_path / "out" / "mam_merge.json").read_text())
    assert record["base"]["sha256"] == locate(str(base)).sha256 and record["method"] == method


def test_a_run_records_its_base_and_is_exported(family, words, tmp_path):
    outcome = once([*words, "method=ties", "lam=0.7"])
    result = outcome.result
    base, target, source = (str(path) for path in family)
    assert {role: record.id for role, record in result.model.parents.items()} == {
        "target": target, "source": source, "base": base
    }  # fmt: skip
    assert result.merge.asked.method == MethodOptions("ties", density=0.2)
    assert once([*words, "method=ties", "lam=0.7"]).status == "skipped"
    assert once([*words, "method=ties", "method.density=0.3", "lam=0.7"]).status == "finished"
    export(outcome.folder, tmp_path / "exported")
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "| base | base |" in card and "The licences of all apply." in card
    exported = once([*words, f"model.target={tmp_path / 'exported'}", "model.base=null", "lam=0"])
    assert [*map(str, (exported.result.metrics,))] == [str(result.metrics)]


def test_dare_is_drawn_and_its_scatter_counts(words):
    outcome = once([*words, "method=dare", "lam=1"])
    assert outcome.result.merge.draws == 5
    assert len(list(outcome.folder.glob("predictions*.jsonl"))) == 5


def test_a_base_that_is_not_read_changes_no_result(words):
    with_base = jobs([*words, "lam=0.1", "study.name=any"])[0]
    without = jobs([*(word for word in words if "model.base" not in word), "lam=0.1"])[0]
    assert with_base.signature == without.signature


def test_inspect_compares_task_vectors(family, words):
    shown = mam("inspect", *(word for word in words if "data" not in word), "method=ties", "lam=0.5")
    assert shown.returncode == 0, shown.stderr
    assert "cos: cosine of both changes to" in shown.stdout
    found = mam("inspect", *(w for w in words if "data" not in w), "method=ties", "lam=0.5", "--json")
    rows = json.loads(found.stdout)["projections"]
    assert max(abs(row["cosine"]) for row in rows) < 0.15  # independent steps; of the weights it is near 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["model.base=null", "method=ties"], "method=ties: merges task vectors, .* Set model.base=CHECKPOINT"),
        (["method=linear"], "model.base: has no effect without method=task_arithmetic or ties or dare"),
        (
            ["method=ties", "align=procrustes"],
            "align=procrustes: does not apply to method=ties, since models with a common ancestor have the same"
            " width and basis",
        ),
        (
            ["method=ties", "on_mismatch=project"],
            "on_mismatch=project: does not apply to method=ties, since models with a common ancestor have the same"
            " width and basis",
        ),
        (["method=ties", "method.density=0"], "method.density=0.0: must be above 0 and 1 or less"),
        (["method=ties", "method.alpha=0.5"], "method.alpha: has no effect without method=regmean"),
        (["method=task_arithmetic", "method.density=0.5"], "method.density: has no effect without method=ties or dare"),
        (["method.scale=2", "model.base=null"], "method.scale: has no effect without method=task_arithmetic or ties"),
        (["method=ties", "train=lmam"], "method=ties: its λ cannot be learnt"),
        (["method=ties", "model.base=' '"], "model.base: is empty"),
    ],
)
def test_options_that_mean_nothing(change, message, words):
    with pytest.raises(ConfigError, match=message):
        jobs([*words, *change])


def test_checkpoints_that_are_no_family(family, words, bert, tmp_path):
    base, target, source = family
    wide = make_hubert(tmp_path / "wide", width=64)
    for change, message in (
        ([f"model.base={target}"], "is the target itself, so its task vector would be zero"),
        ([f"model.base={source}"], "is the source itself"),
        ([f"model.base={wide}"], "differs from that of target and source"),
        ([f"model.base={bert}"], "differs from that of target and source"),
        (
            [f"model.source={bert}", "model.source_shape.layers=null"],
            r"cannot have a common ancestor, since their shapes differ \(3 layers × 32, 4 heads; 4 layers × 32, 4"
            r" heads\)",
        ),
    ):
        (job,) = jobs([*words, "method=ties", *change])
        with pytest.raises(UnfitError, match=message):
            run(with_shapes([job])[0], Workbench())
    with pytest.raises(MergeError, match="base: its shape is .*Models with a common ancestor have the same shape"):
        package.merge(target, source, base=wide, method="ties")
    with pytest.raises(ConfigError, match="model.base: has no effect without"):
        package.merge(target, source, base=base)
    with pytest.raises(ConfigError, match=r"base: int is not a model"):
        package.merge(target, source, base=3, method="ties")
    files = [word for word in words if not word.startswith(("data", "model.base"))]
    shown = mam("merge", *files, "model.base=nowhere", "method=ties", "out=x")
    assert shown.returncode == 1 and "nowhere" in shown.stderr and not Path("x").exists()
