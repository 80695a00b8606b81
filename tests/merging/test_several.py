"""Several sources in one merge: by hand, as one source, in files and in memory; every refusal."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from support.models import LAYERS, make_bert, make_hubert
from support.runs import data_words, jobs, mam, once, pair_words
from support.several import by_hand, weights
from transformers import BertModel, HubertForCTC

import mam as package
from mam.config.several import keys_of
from mam.errors import ConfigError, UnfitError
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for
from mam.interface.words import words_from
from mam.merging.options import MergeOptions
from mam.merging.plan import plan_merge
from mam.merging.several import shares_of, within_one
from mam.merging.shape import Shape
from mam.runs.shapes import with_shapes

SHAPE = Shape(4, 32, 4)


def test_a_merge_by_hand(several, hubert_group, bert, other):
    bench = Workbench()
    (job,) = with_shapes(jobs([*several, "lam=[0.3,0.1]"]))
    pair = bench.pair(job.config)
    pair.merger.apply(plan_for(job.config, pair, job.config.lam))
    for layer in range(LAYERS):
        for part in "qkv":
            linear = pair.target.blocks[layer].projection(part)
            weight, bias = by_hand(hubert_group, {bert: 0.3, other: 0.1}, layer, part)
            torch.testing.assert_close(linear.weight.detach(), weight)
            torch.testing.assert_close(linear.bias.detach(), bias)
    pair.merger.restore()
    torch.testing.assert_close(pair.target.blocks[0].q.weight.detach(), weights(hubert_group)[0], rtol=0, atol=0)


def test_a_source_without_a_share_changes_nothing(several, hubert_group, bert, clips):
    alone = once([*pair_words(hubert_group, bert), *data_words(clips), "lam=0.4"])
    beside = once([*several, "lam=[0.4,0]"])
    assert (alone.folder / "predictions.jsonl").read_bytes() == (beside.folder / "predictions.jsonl").read_bytes()
    assert beside.result.merge.lams_by_source == [0.4] * LAYERS + [0.0] * LAYERS


def test_the_record_names_every_source_and_its_lam(several, bert, other):
    result = once([*several, "lam=[0.3,0.1]", "schedule=linear"]).result
    assert [record.id for record in result.model.sources] == [str(bert), str(other)]
    first, second = result.merge.by_source
    assert result.merge.lam == pytest.approx([a + b for a, b in zip(first.lam, second.lam, strict=True)])
    assert first.lam == pytest.approx([0.3 * n / (LAYERS - 1) for n in range(LAYERS)])
    assert second.lam == pytest.approx([0.1 * n / (LAYERS - 1) for n in range(LAYERS)])
    assert result.merge.asked.shares == [0.3, 0.1]


def test_a_list_of_lam_is_the_sum_and_the_shares(several):
    (listed,) = jobs([*several, "lam=[0.3,0.1]"])
    (said,) = jobs([*several, "lam=0.4", "shares=[0.3,0.1]"])
    assert listed.resolved == said.resolved
    (equal,) = jobs([*several, "lam=0.4"])
    assert plan_merge(equal.config, SHAPE, SHAPE, further=[SHAPE]).lams_by_source == (0.2,) * 8
    (zero,) = jobs([*several, "lam=[0,0]"])
    assert (zero.config.lam, zero.config.shares) == (0, [])


def test_a_sweep_over_lists_has_its_baseline_and_its_control(several):
    plan = jobs([*several, "lam=[0.3,0.1],[0.1,0.3]"], multirun=True)
    found = [(job.config.lam, job.config.shares, job.config.control) for job in plan]
    assert (0, [], "none") in found
    assert {(0.4, (0.3, 0.1), "shrink"), (0.4, (0.1, 0.3), "shrink")} <= {(a, tuple(b), c) for a, b, c in found}


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=5), st.integers(1, 4))
def test_shares_add_up_to_one_and_lam_to_no_more(proportions, layers):
    if sum(proportions) > 0:
        assert sum(shares_of(proportions, len(proportions))) == pytest.approx(1)
    lams = within_one([lam for lam in proportions for _ in range(layers)], layers)
    assert all(sum(lams[layer::layers]) <= 1 + 1e-12 for layer in range(layers))
    if sum(proportions) <= 1:
        assert list(lams) == [lam for lam in proportions for _ in range(layers)]


@given(st.lists(st.floats(0, 0.25), min_size=8, max_size=8))
def test_lam_by_source_is_kept_as_it_is(lams):
    plan = plan_merge(MergeOptions(), SHAPE, SHAPE, further=[SHAPE]).at(lams)
    assert list(plan.lams_by_source) == lams
    assert list(plan.lams) == [lams[layer] + lams[4 + layer] for layer in range(4)]
    assert plan.at(plan.lams_by_source) == plan


def test_a_run_from_python_takes_a_list_of_lam():
    words = words_from((), {"model": {"sources": ["a", "b"]}, "lam": [0.05, 0.02]})
    assert words == ["model.sources=[a,b]", "lam=[0.05,0.02]"]
    swept = words_from((), {"model": {"sources": ["a", "b"]}, "lam": [[0.05, 0.02], [0.1, 0]]}, has_sweeps=True)
    assert swept[-1] == "lam=[0.05,0.02],[0.1,0]"


def test_random_controls_of_two_sources_differ():
    plan = plan_merge(MergeOptions(control="shuffle_layers"), SHAPE, SHAPE, 3, further=[SHAPE])
    first, second = plan.each
    assert first.seed == 3 != second.seed
    alone = plan_merge(MergeOptions(control="shuffle_layers"), SHAPE, SHAPE, 3)
    assert first.pairs == alone.pairs  # as in a merge of this source alone
    assert plan.drawn(1).each[1].pairs != plan.drawn(1).pairs or second.pairs != first.pairs


def test_controls_replace_each_source(several, hubert_group):
    bench = Workbench()
    (job,) = with_shapes(jobs([*several, "lam=[0.3,0.1]", "control=shrink"]))
    pair = bench.pair(job.config)
    pair.merger.apply(plan_for(job.config, pair, job.config.lam))
    torch.testing.assert_close(pair.target.blocks[1].q.weight.detach(), 0.6 * weights(hubert_group, 1)[0])
    (job,) = with_shapes(jobs([*several, "lam=[0.3,0.1]", "control=random_spectrum"]))
    given = bench.pair(job.config).merger.sources(plan_for(job.config, pair, job.config.lam))
    (one, _), (two, _) = given[0, "q"]
    spectra = [torch.linalg.svdvals(tensor) for tensor in (one, two)]
    torch.testing.assert_close(spectra[0], torch.linalg.svdvals(weights(Path(job.config.model.source))[0]))
    torch.testing.assert_close(spectra[1], torch.linalg.svdvals(weights(Path(job.config.model.sources[1]))[0]))
    assert abs(torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0)) < 0.5


def test_each_source_has_its_own_width_and_depth(hubert_group, bert, vit, clips):
    """A text and an image model; the second is projected, and what it contributes is what it would alone."""
    words = [*pair_words(hubert_group, bert), *data_words(clips), "on_mismatch=project", "pairing=proportional"]
    bench = Workbench()
    (job,) = with_shapes(jobs([*words, f"model.sources=[{bert},{vit}]", "lam=[0.3,0.1]"]))
    pair = bench.pair(job.config)
    plan = plan_for(job.config, pair, job.config.lam)
    (_, alone), _ = pair.merger.sources(plan)[0, "q"], None
    (single,) = with_shapes(jobs([*words, f"model.source={vit}", "lam=0.1"]))
    other_pair = Workbench().pair(single.config)
    ((expected, _),) = other_pair.merger.sources(plan_for(single.config, other_pair, 0.1))[0, "q"]
    torch.testing.assert_close(alone[0], expected)


def test_files_and_memory_say_the_same(several, hubert_group, bert, other, tmp_path):
    words = [*pair_words(hubert_group, bert), "lam=[0.3,0.1]", f"model.sources=[{bert},{other}]"]
    done = mam("merge", *words, f"out={tmp_path / 'merged'}")
    assert done.returncode == 0, done.stderr
    file = load_file(tmp_path / "merged" / "model.safetensors")
    model = HubertForCTC.from_pretrained(hubert_group)
    merged = package.merge(copy.deepcopy(model), [str(bert), BertModel.from_pretrained(other)], lam=[0.3, 0.1])
    changed = [name for name in merged.state_dict() if "_proj." in name]
    assert len(changed) == 8 * LAYERS
    for name in changed:
        torch.testing.assert_close(merged.state_dict()[name], file[name], rtol=0, atol=0)
    alone = [package.merge(copy.deepcopy(model), *words) for words in ((bert, 0.2), ([bert], [0.2]))]
    torch.testing.assert_close(alone[0].state_dict(), alone[1].state_dict(), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="there is 1"):
        package.merge(model, bert, lam=[0.1, 0.2])
    shared = package.merge(model, [bert, other], lam=0.4, shares=[0.3, 0.1])
    torch.testing.assert_close(shared.state_dict(), merged.state_dict(), rtol=0, atol=0)


def test_inspect_compares_each(several, bert, other):
    words = [word for word in several if not word.startswith("data")]
    done = mam("inspect", *words, "lam=[0.3,0.1]", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [side["id"] for side in (found["source"], *found["further"])] == [str(bert), str(other)]
    assert {(row["source"], row["lam"]) for row in found["projections"]} == {(1, 0.3), (2, 0.1)}
    assert found["tensors"] == 6 * LAYERS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lam=[0.7,0.5]"], "add up to 1.2"),
        (["lam=[0.1,0.1,0.1]"], "must be one number per source, and there are 2"),
        (["lam=[0.1,-0.1]"], "each source needs a number from 0 to 1"),
        (["lam=[]"], "each source needs a number from 0 to 1"),
        (["lam=[a,b]"], "each source needs a number from 0 to 1"),
        (["lam=[true,0.1]"], "each source needs a number from 0 to 1"),
        (["shares=[0,0]"], "0 or more, and not all 0"),
        (["shares=[1,-1]"], "0 or more, and not all 0"),
        (["method=slerp"], "merges only one source, but model.sources has several"),
        (["pairing=similar"], "works with only one source, but model.sources has several"),
        (["model.source=elsewhere"], "differs from the first of model.sources="),
        (["lam=[0.3,0.1]", "shares=[1,1]"], "shares: has no effect, since lam is a list"),
        (
            ["model.further_shapes=[{},{}]"],
            "model.further_shapes: has 2 shapes, but model.sources has 1 after the first",
        ),
    ],
)
def test_refusals(several, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs([*several, *words])


def test_refusals_of_lists(hubert_group, bert, clips):
    words = [*pair_words(hubert_group, bert), *data_words(clips)]
    with pytest.raises(ConfigError, match="there is 1"):
        jobs([*words, "lam=[0.1,0.1]"])
    with pytest.raises(ConfigError, match="twice"):
        jobs([*words, f"model.sources=[{bert},{bert}]"])
    with pytest.raises(ConfigError, match="has an empty name"):
        jobs([*words, f"model.sources=[{bert},'']"])
    with pytest.raises(ConfigError, match="takes one value"):
        package.run(*words, lam=[0.1, 0.1], seed=[1, 2])
    with pytest.raises(ConfigError, match="the list is empty"):
        package.merge(HubertForCTC.from_pretrained(hubert_group), [])
    with pytest.raises(ConfigError, match="source: int is not a model"):
        package.merge(HubertForCTC.from_pretrained(hubert_group), [bert, 3])


def test_a_second_source_that_does_not_fit_is_named(hubert_group, bert, clips, tmp_path):
    wide = make_hubert(tmp_path / "wide", width=48)
    words = [*pair_words(hubert_group, bert), *data_words(clips), f"model.sources=[{bert},{wide}]"]
    with pytest.raises(ConfigError, match=f"{wide} is 48. They must agree"):
        with_shapes(jobs(words))


def test_f_of_a_second_source_with_another_width_is_refused(hubert_group, bert, clips, tmp_path):
    wide = make_bert(tmp_path / "wide", intermediate=64)
    words = [*pair_words(hubert_group, bert), *data_words(clips), f"model.sources=[{bert},{wide}]", "parts=qkvf"]
    with pytest.raises(UnfitError, match="the shape of f1 in layer 0 is .*64.* in the source"):
        once(words)


def test_words_that_set_more_than_one_key():
    assert keys_of("lam", 0.1) == [("lam", 0.1)]
    assert keys_of("lam", [0.1, 0.2]) == [("lam", 0.3), ("shares", [0.1, 0.2])]
    assert dict(keys_of("model.sources", ["a", "b"]))["model.source_sha256"] is None
    assert keys_of("model.sources", []) == [("model.sources", [])]
