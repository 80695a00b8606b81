"""Whether similarity predicts the effect of a merge: the correlation within target layers, and which runs count."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import pearsonr
from support.runs import jobs

from mam.config.search import ONLY_MAMS
from mam.errors import UnfitError
from mam.launch.request import request
from mam.launch.start import run_several
from mam.merging.options import MergeOptions
from mam.merging.plan import plan_merge
from mam.merging.shape import Shape
from mam.merging.similarity import LayerSimilarities, Similarity
from mam.studies import similarity
from mam.studies.similarity import predictions_by_similarity, within
from mam.terminal import Terminal


def test_one_group_is_pearson_with_every_order_tried():
    points = np.array([[0.1, 3.0], [0.2, 1.0], [0.4, 2.0], [0.9, -1.0]])
    r, p = within([points])
    assert r == pytest.approx(pearsonr(points[:, 0], points[:, 1]).statistic)
    orders = [pearsonr(points[list(order), 0], points[:, 1]).statistic for order in permutations(range(4))]
    assert p == sum(abs(other) >= abs(r) - 1e-12 for other in orders) / 24


def test_groups_are_compared_within_themselves():
    """Between the groups both quantities rise together; within each they fall."""
    groups = [np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[10.0, 11.0], [11.0, 10.0]])]
    r, p = within(groups)
    assert r == pytest.approx(-1) and p == 2 / 4  # both reversed, or neither
    assert within([np.array([[1.0, 0.0], [1.0, 5.0]])]) == (0.0, 1.0)


def test_size_under_the_null_with_random_orders(monkeypatch):
    """p is at most .05 in about 5 % of draws without a relation, with random orders of two groups of seven."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(similarity, "DRAWS", 199)
    hits = sum(within([rng.normal(size=(7, 2)) + 5 * n for n in range(2)], seed)[1] <= 0.05 for seed in range(400))
    assert 8 <= hits <= 34  # 20 expected; four standard deviations are 17


def member(layers, pairs, delta, control="none", lam=0.1):
    (job,) = jobs([f"control={control}", f"lam={lam}"])
    merge = SimpleNamespace(merged_layers=layers, pairs={str(layer): other for layer, other in pairs.items()})
    return SimpleNamespace(
        job=job, outcome=SimpleNamespace(result=SimpleNamespace(merge=merge, delta=SimpleNamespace(absolute=delta)))
    )


def test_only_single_layers_of_the_source_count_and_lambdas_are_averaged():
    table = [[Similarity(value, 0.0) for value in row] for row in ([0.1, 0.5], [0.3, 0.2])]
    similarities = [LayerSimilarities("cka", 20, table, [])]
    members = [
        member([0], {0: 0}, 0.04),
        member([0], {0: 0}, 0.02, lam=0.2),
        member([0], {0: 1}, 0.01),
        member([1], {1: 1}, 0.50),  # its layer has one partner: nothing to compare with
        member([0, 1], {0: 0, 1: 1}, 9.0),
        member([0], {0: 1}, 9.0, control="shrink"),
        SimpleNamespace(job=jobs(["lam=0.1"])[0], outcome=None),
    ]
    (found,) = predictions_by_similarity(members, similarities)
    assert (found.measure, found.layers, found.merges) == ("cka", 1, 2)
    assert found.correlation == pytest.approx(-1) and found.p_value == 1.0
    assert predictions_by_similarity(members[3:], similarities) == []
    assert predictions_by_similarity(members, []) == []


def test_offset_moves_partners_on_cyclically():
    target, source = Shape(3, 8, 2), Shape(4, 8, 2)
    assert plan_merge(MergeOptions(offset=2), target, source).pairs == {0: 2, 1: 3, 2: 0}
    assert plan_merge(MergeOptions(offset=6), target, source).pairs == {0: 2, 1: 3, 2: 0}
    assert plan_merge(MergeOptions(offset=2, control="self"), target, source).pairs == {0: 1, 1: 2, 2: 0}


def test_a_source_without_common_inputs_is_refused_before_any_run(tmp_path):
    words = ["model=demo_beats_vit", "data=demo_sounds", "experiment=similarity", f"outputs={tmp_path}"]
    with pytest.raises(UnfitError, match="reads images"):
        run_several(request(words, False, ONLY_MAMS), Terminal(quiet=True))
    assert not list(tmp_path.iterdir())
