"""Alignments and projections: laws, closed forms against brute force, and what leaves the source's function alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from support.runs import pair_words
from transformers import BertConfig, BertModel

from mam.config.compose import jobs
from mam.errors import ConfigError, MergeError, UnfitError
from mam.evaluation.model_pair import checked_source_and_target
from mam.merge.adapted_source import Given
from mam.merge.align import ALIGNMENTS, cosine, distance, spectral_distance
from mam.merge.basis import Basis, Heads, Pair, moved, nearest_isometry
from mam.merge.controls import CONTROLS, Place, haar
from mam.merge.plan import MergePlan
from mam.merge.project import PROJECTS, projected
from mam.runs.inspection import inspect

D, HEADS = 8, Heads(2, 2)


def block(seed: int, width: int = D) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        part: (torch.randn(width, width, generator=generator), torch.randn(width, generator=generator))
        for part in "qkv"
    }


def pairs(seed: int = 0, depth: int = 3, width: int = D) -> list[Pair]:
    return [Pair(i, block(seed + 2 * i), block(seed + 2 * i + 1, width)) for i in range(depth)]


def scrambled(given: list[Pair], basis: Basis) -> list[Pair]:
    """The same targets, with sources that are these targets in another basis."""
    return moved([Pair(one.layer, one.target, one.target) for one in given], basis)


def permutation(order) -> torch.Tensor:
    return torch.eye(len(order), dtype=torch.float64)[list(order)]


def shuffled_heads(depth: int = 3) -> Basis:
    """Head 1 before head 0, in every layer."""
    matrix = permutation([4, 5, 6, 7, 0, 1, 2, 3])
    return Basis(rows={(layer, kind): matrix for layer in range(depth) for kind in ("qk", "v")})


def test_heads_finds_the_order_that_was_lost():
    given = scrambled(pairs(), shuffled_heads())
    basis = ALIGNMENTS["heads"].fit(given, HEADS)
    for one in moved(given, basis):
        for part in "qkv":
            for ours, theirs in zip(one.target[part], one.source[part], strict=True):
                assert torch.equal(ours, theirs)


def test_heads_is_the_best_of_all_orders():
    given, heads = pairs(depth=1), Heads(4, 4)
    basis = ALIGNMENTS["heads"].fit(given, heads)
    found = spectral_distance(moved(given, basis)[0], heads)
    for order in itertools.permutations(range(4)):
        rows = permutation([2 * head + row for head in order for row in range(2)])
        other = moved(given, Basis(rows={(0, "qk"): rows, (0, "v"): rows}))[0]
        assert found <= spectral_distance(other, heads) + 1e-12


def bert_with(basis: Basis, model: BertModel, inverse: bool = False) -> BertModel:
    """The model with its attention in another basis, O included; with ``inverse`` back again."""
    if inverse:
        basis = Basis(None, {place: matrix.T for place, matrix in basis.rows.items()})
    made = BertModel(model.config).eval()
    made.load_state_dict(model.state_dict())
    with torch.no_grad():
        for i, layer in enumerate(made.encoder.layer):
            attention = layer.attention
            linears = {"q": attention.self.query, "k": attention.self.key, "v": attention.self.value}
            for part, linear in (linears | {"o": attention.output.dense}).items():
                weight, bias = basis.moved(i, part, (linear.weight, linear.bias))
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
    return made


@pytest.mark.parametrize("name", ["heads", "permute"])
def test_reordered_heads_leave_the_sources_function_as_it_was(name):
    """The source, run in its new basis, computes what it did; the inverse gives its weights back, bit for bit."""
    torch.manual_seed(0)
    shape = {"hidden_size": D, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 16}
    model = BertModel(BertConfig(vocab_size=20, **shape)).eval()
    blocks = [layer.attention.self for layer in model.encoder.layer]
    theirs = [
        {part: (linear.weight.detach(), linear.bias.detach()) for part, linear in linears.items()}
        for linears in ({"q": one.query, "k": one.key, "v": one.value} for one in blocks)
    ]
    given = [Pair(i, block(i), source) for i, source in enumerate(theirs)]
    basis = Basis(rows=ALIGNMENTS[name].fit(given, Heads(4, 4)).rows)  # the stream every module would have to follow
    words = torch.arange(12)[None]
    there = bert_with(basis, model)
    with torch.no_grad():
        torch.testing.assert_close(there(words).last_hidden_state, model(words).last_hidden_state, rtol=0, atol=1e-5)
    back = bert_with(basis, there, inverse=True)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in back.state_dict().items())
    queries = [layer.attention.self.query.weight for layer in there.encoder.layer]
    assert not all(torch.equal(query, source["q"][0]) for query, source in zip(queries, theirs, strict=True))


def test_procrustes_is_scipys():
    given = pairs()
    stacked = [
        torch.cat([getattr(one, side)[part][0] for one in given for part in "qkv"]).double().numpy()
        for side in ("target", "source")
    ]
    expected, _ = orthogonal_procrustes(stacked[1], stacked[0])  # min ‖W_s R - W_t‖
    stream = ALIGNMENTS["procrustes"].fit(given, HEADS).stream
    torch.testing.assert_close(stream.T, torch.from_numpy(expected))


def test_procrustes_finds_the_rotation_that_was_hidden():
    given = scrambled(pairs(), Basis(stream=haar(D, Place(1, 0), "test")))
    for one in moved(given, ALIGNMENTS["procrustes"].fit(given, HEADS)):
        assert distance(one, HEADS) < 1e-6 and cosine(one) == pytest.approx(1)


def test_permute_finds_the_names_that_were_lost():
    """The stream alone, then heads and the rows within them alone."""
    order = torch.randperm(D, generator=torch.Generator().manual_seed(1)).tolist()
    given = scrambled(pairs(), Basis(stream=permutation(order)))
    assert all(distance(one, HEADS) == 0 for one in moved(given, ALIGNMENTS["permute"].fit(given, Heads(2, 4))))
    rows = {
        (layer, kind): permutation([5, 4, 7, 6, 1, 0, 3, 2] if kind == "qk" else [6, 7, 4, 5, 2, 3, 0, 1])
        for layer in range(3)
        for kind in ("qk", "v")
    }
    given = scrambled(pairs(), Basis(rows=rows))
    fitted = ALIGNMENTS["permute"].fit(given, HEADS)
    before = sum(cosine(one) for one in given)
    assert sum(cosine(one) for one in moved(given, fitted)) > before


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from(["procrustes", "permute"]))
def test_an_alignment_of_weights_never_moves_the_source_away(seed, name):
    given = pairs(seed)
    basis = ALIGNMENTS[name].fit(given, HEADS)
    inner = [
        sum(float((one.target[p][0] * one.source[p][0]).sum()) for one in some for p in "qkv")
        for some in (given, moved(given, basis))
    ]
    assert inner[1] >= inner[0] - 1e-4
    for one, other in zip(given, moved(given, basis), strict=True):
        for part in "qkv":  # orthogonal maps keep singular values
            singular = [torch.linalg.svdvals(side.source[part][0]) for side in (one, other)]
            torch.testing.assert_close(*singular, rtol=1e-4, atol=1e-4)


def test_permute_with_other_heads_moves_the_stream_alone():
    basis = ALIGNMENTS["permute"].fit(pairs(), Heads(2, 4))
    assert not basis.rows and torch.equal(basis.stream.sum(0), torch.ones(D, dtype=torch.float64))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(list(PROJECTS)), st.sampled_from([4, 6, 12]), st.sampled_from([(2, 2), (2, 1)]))
def test_a_projection_is_an_isometry_of_the_stream(name, width, heads):
    given = pairs(width=width)
    basis = projected(given, Heads(*heads, 3), name)
    assert basis.stream.shape == (D, width)
    least = min(D, width)
    gram = basis.stream.T @ basis.stream if width <= D else basis.stream @ basis.stream.T
    torch.testing.assert_close(gram, torch.eye(least, dtype=torch.float64))
    for one in moved(given, basis):
        weight, bias = one.source["q"]
        assert weight.shape == (D, D) and bias.shape == (D,)
    if width <= D:  # nothing of a narrower source is lost
        lengths = [torch.stack([one.source[p][0].norm() for p in "qkv"]) for one in (given[0], moved(given, basis)[0])]
        torch.testing.assert_close(*lengths, rtol=1e-4, atol=1e-5)


def test_a_narrower_source_computes_the_same_logits_in_the_wider_stream():
    """q·k of each head on x is q·k on P x, whatever the projection: 2 heads of 3 become 2 of 4."""
    given = pairs(width=6)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)

    def logits(block, x, size):
        q, k = (
            (x @ block[part][0].double().T + block[part][1].double()).view(5, 2, size).transpose(0, 1) for part in "qk"
        )
        return q @ k.transpose(-1, -2)

    for name in PROJECTS:
        basis = projected(given, HEADS, name)
        wide = moved(given, basis)[1].source
        torch.testing.assert_close(
            logits(wide, x @ basis.stream.T, 4), logits(given[1].source, x, 3), rtol=0, atol=1e-4
        )


def test_a_wider_source_keeps_the_strongest_directions_of_its_heads():
    """A head of 6 rows of which 4 are zero loses nothing when 4 are kept."""
    given = pairs(width=12, depth=1)
    for part in "qkv":
        weight = given[0].source[part][0]
        weight[[0, 1, 6, 7]] = 0
    basis = projected(given, HEADS, "random")
    for kind, parts in (("qk", "qk"), ("v", "v")):
        rows = basis.rows[0, kind]
        for part in parts:
            kept = given[0].source[part][0].double()
            torch.testing.assert_close(rows.T @ (rows @ kept), kept)


def test_projection_procrustes_finds_a_hidden_narrow_source():
    small = pairs(width=6)
    placed = moved(small, projected(small, HEADS, "random"))
    given = [Pair(one.layer, wide.source, one.source) for one, wide in zip(small, placed, strict=True)]
    for one in moved(given, projected(given, HEADS, "procrustes")):
        assert distance(one, HEADS) < 1e-6


def test_random_projections_follow_the_seed():
    given = pairs(width=6)
    first, again, other = (projected(given, Heads(2, 2, seed), "random").stream for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_nearest_isometry_by_hand():
    torch.testing.assert_close(
        nearest_isometry(torch.tensor([[3.0, 0.0], [0.0, -2.0], [0.0, 0.0]])),
        torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]),
    )


def test_a_basis_moves_moments_as_it_moves_what_is_heard():
    stream = haar(12, Place(0, 0), "test")[:D]
    x = torch.randn(30, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = Basis(stream=stream).moved_moments(0, "q", x.T @ x)
    torch.testing.assert_close(moments, (x @ stream.T).T @ (x @ stream.T))


def test_given_reads_a_plain_source_through_and_keeps_an_aligned_one():
    count = {"own": 0, "source": 0}

    def read(side):
        def reading(layer, part):
            count[side] += 1
            return block(layer + (side == "own") * 50)[part]

        return reading

    def plan(**fields):
        return MergePlan("linear", "none", (0.1,) * 2, {0: 0, 1: 1}, ("q", "k", "v"), "index", True, **fields)

    plain, aligned = (Given(plan(align=name), read("own"), read("source")) for name in ("none", "procrustes"))
    assert torch.equal(plain.read(0, "q")[0], block(0)["q"][0])
    plain.read(0, "q")
    assert count["source"] == 2
    aligned.read(0, "q")
    seen = count["source"]
    assert torch.equal(aligned.read(0, "q")[0], aligned.read(0, "q")[0]) and count["source"] == seen
    assert Given.key(plan()) == Given.key(plan(alpha=0.3)) != Given.key(plan(align="heads"))


def test_another_width_without_projection_is_refused_by_the_tensor_too():
    plan = MergePlan("linear", "none", (0.1,), {0: 0}, ("q",), "index", True)
    given = Given(plan, lambda *_: (torch.eye(8), None), lambda *_: (torch.eye(6), None))
    with pytest.raises(MergeError, match=r"is \(6, 6\), the target's is \(8, 8\). Widths must agree; say on_mismatch"):
        given.read(0, "q")


@pytest.mark.parametrize("control", [name for name in CONTROLS if not CONTROLS[name].has_structure])
def test_align_with_a_control_that_destroys_structure_is_refused(control):
    with pytest.raises(
        ConfigError, match=f"align=procrustes: control={control} leaves nothing of the source that could"
    ):
        jobs(["align=procrustes", f"control={control}"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["align=rebasin"], r"align=rebasin: not known. Choose one of:\n      none +The source(.|\n)*permute +Neurons"),
        (["on_mismatch=pad"], "on_mismatch=pad: not known. Choose one of: error, project"),
        (["on_mismatch=project", "project=pca"], r"project=pca: not known. Choose one of:\n      svd +Principal"),
        (["project=svd"], "project: has no effect without on_mismatch=project"),
        (
            ["model.source_shape.width=96"],
            "the target is 128 wide and the source 96. Widths must agree; say on_mismatch",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(words, message):
    with pytest.raises(ConfigError, match=message):
        jobs(words)


def test_inspect_says_what_was_gained(hubert_group, bert):
    words = [*pair_words(hubert_group, bert), "lam=0.2"]
    for name in ("procrustes", "permute", "heads"):
        config = jobs([*words, f"align={name}"])[0].config
        found = inspect(config, *checked_source_and_target(config.model))
        assert [one.layer for one in found.gains] == [0, 1, 2]
        before, after = (sum(one.distance[place] for one in found.gains) for place in (0, 1))
        assert after <= before + 1e-9
        if name != "heads":
            assert all(one.cosine[1] > one.cosine[0] for one in found.gains)
            assert all(one.noise > 0 for one in found.gains)  # an alignment finds something in noise too
    assert inspect(jobs(words)[0].config, *checked_source_and_target(jobs(words)[0].config.model)).gains == []


def test_what_needs_equal_heads_is_unfit_for_others(whisper, minilm):
    for word, message in (("align=heads", "pairs head with head"), ("method=qk_product", "merges head with head")):
        config = jobs(["model=whisper_minilm", *pair_words(whisper, minilm, 8), word])[0].config
        with pytest.raises(UnfitError, match=f"{word}: {message}, but the target has 4 heads and the source 8"):
            inspect(config, *checked_source_and_target(config.model))


def test_what_reads_the_query_itself_is_unfit_for_another_basis(beats, vit):
    config = jobs(["model=demo_beats_vit", *pair_words(beats, vit), "method=qk_product"])[0].config
    with pytest.raises(
        UnfitError, match="method=qk_product: writes Q and K in another basis, in which the gate of its"
    ):
        inspect(config, *checked_source_and_target(config.model))
