"""Alignments: laws, closed forms against brute force, and what leaves the source's function alone."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from support.alignment import HEADS, D, block, pairs, permutation, scrambled
from support.runs import jobs, pair_words
from transformers import BertConfig, BertModel

from mam.errors import ConfigError, UnfitError
from mam.evaluation.model_pair import checked_parents
from mam.merging.align import spectral_distance
from mam.merging.basis import Basis, Heads, LayerPair, moved
from mam.merging.controls import Place, haar
from mam.merging.fits import FITS, cosine, distance
from mam.merging.tables import ALIGNMENTS, CONTROLS
from mam.runs.inspection import inspect


def said(name: str) -> str:
    """What a refusal says of an alignment, as a pattern."""
    return re.escape(ALIGNMENTS[name].summary.rstrip("."))


def shuffled_heads(depth: int = 3) -> Basis:
    """Head 1 before head 0, in every layer."""
    matrix = permutation([4, 5, 6, 7, 0, 1, 2, 3])
    return Basis(rows={(layer, kind): matrix for layer in range(depth) for kind in ("qk", "v")})


def test_heads_finds_the_order_that_was_lost():
    given = scrambled(pairs(), shuffled_heads())
    basis = FITS["heads"].fit(given, HEADS)
    for one in moved(given, basis):
        for part in "qkv":
            for ours, theirs in zip(one.target[part], one.source[part], strict=True):
                assert torch.equal(ours, theirs)


def test_heads_is_the_best_of_all_orders():
    given, heads = pairs(depth=1), Heads(4, 4)
    basis = FITS["heads"].fit(given, heads)
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
    given = [LayerPair(i, block(i), source) for i, source in enumerate(theirs)]
    basis = Basis(rows=FITS[name].fit(given, Heads(4, 4)).rows)  # the stream every module would have to follow
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
    stream = FITS["procrustes"].fit(given, HEADS).stream
    torch.testing.assert_close(stream.T, torch.from_numpy(expected))


def test_procrustes_finds_the_rotation_that_was_hidden():
    given = scrambled(pairs(), Basis(stream=haar(D, Place(1, 0), "test")))
    for one in moved(given, FITS["procrustes"].fit(given, HEADS)):
        assert distance(one, HEADS) < 1e-6 and cosine(one) == pytest.approx(1)


def test_permute_finds_the_names_that_were_lost():
    """The stream alone, then heads and the rows within them alone."""
    order = torch.randperm(D, generator=torch.Generator().manual_seed(1)).tolist()
    given = scrambled(pairs(), Basis(stream=permutation(order)))
    assert all(distance(one, HEADS) == 0 for one in moved(given, FITS["permute"].fit(given, Heads(2, 4))))
    rows = {
        (layer, kind): permutation([5, 4, 7, 6, 1, 0, 3, 2] if kind == "qk" else [6, 7, 4, 5, 2, 3, 0, 1])
        for layer in range(3)
        for kind in ("qk", "v")
    }
    given = scrambled(pairs(), Basis(rows=rows))
    fitted = FITS["permute"].fit(given, HEADS)
    before = sum(cosine(one) for one in given)
    assert sum(cosine(one) for one in moved(given, fitted)) > before


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from(["procrustes", "permute"]))
def test_an_alignment_of_weights_never_moves_the_source_away(seed, name):
    given = pairs(seed)
    basis = FITS[name].fit(given, HEADS)
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
    basis = FITS["permute"].fit(pairs(), Heads(2, 4))
    assert not basis.rows and torch.equal(basis.stream.sum(0), torch.ones(D, dtype=torch.float64))


@pytest.mark.parametrize("control", [name for name in CONTROLS if not CONTROLS[name].has_structure])
def test_align_with_a_control_that_destroys_structure_is_refused(control):
    with pytest.raises(ConfigError, match=f"align=procrustes: control={control} replaces the source with numbers"):
        jobs(["align=procrustes", f"control={control}"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["align=rebasin"],
            f"align=rebasin: not known. Choose one of:\n      none +{said('none')}(.|\n)*permute +{said('permute')}",
        ),
        (["on_mismatch=pad"], "on_mismatch=pad: not known. Choose one of: error, project"),
        (
            ["on_mismatch=project", "project=pca"],
            r"project=pca: not known. Choose one of:\n      svd +Matches principal",
        ),
        (["project=svd"], "project: has no effect without on_mismatch=project"),
        (
            ["model.source_shape.width=96"],
            "the width of the target is 128, that of the source is 96. They must agree: set on_mismatch",
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
        found = inspect(config, checked_parents(config))
        assert [one.layer for one in found.gains] == [0, 1, 2]
        before, after = (sum(one.distance[place] for one in found.gains) for place in (0, 1))
        assert after <= before + 1e-9
        if name != "heads":
            assert all(one.cosine[1] > one.cosine[0] for one in found.gains)
            assert all(one.noise > 0 for one in found.gains)  # an alignment finds something in noise too
    assert inspect(jobs(words)[0].config, checked_parents(jobs(words)[0].config)).gains == []


def test_what_needs_equal_heads_is_unfit_for_others(whisper, minilm):
    for word, message in (
        ("align=heads", "needs equally many heads"),
        ("method=qk_product", "needs equally many heads"),
    ):
        config = jobs(["model=whisper_minilm", *pair_words(whisper, minilm, 8), word])[0].config
        with pytest.raises(UnfitError, match=f"{word}: {message}, but the target has 4 heads and the source 8"):
            inspect(config, checked_parents(config))


def test_what_reads_the_query_itself_is_unfit_for_another_basis(beats, vit):
    config = jobs(["model=demo_beats_vit", *pair_words(beats, vit), "method=qk_product"])[0].config
    with pytest.raises(UnfitError, match="method=qk_product: changes the basis of Q and K, so the gate of its"):
        inspect(config, checked_parents(config))
