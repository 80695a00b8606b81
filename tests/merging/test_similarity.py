"""Similarity of layers: by hand, against chance by simulation, and through `mam inspect` and `pairing=similar`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.runs import jobs, mam, once

from mam.errors import ConfigError, MergeError, UnfitError
from mam.evaluation.workbench import Workbench
from mam.merging.plan import plan_merge
from mam.merging.shape import Shape
from mam.merging.similarity import cka, neighbours, similarities
from mam.runs.export import export
from mam.runs.run import run


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def straight(n: int) -> torch.Tensor:
    return torch.arange(n)


def test_cka_by_hand_and_as_its_formula_says():
    """x = (1, -1, 0), y = (1, 0, -1): inner product 1 of lengths √2 each, so that CKA is (1/2)²."""
    x, y = (torch.tensor([values], dtype=torch.float64).T for values in ([1, -1, 0], [1, 0, -1]))
    assert cka(x, y)(straight(3)) == pytest.approx(0.25)
    x, y = (one.numpy() for one in (features(30, 5, 1), features(30, 7, 2)))
    a, b = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    found = cka(torch.from_numpy(x), torch.from_numpy(y))
    assert found(straight(30)) == pytest.approx(expected)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert found(order) == pytest.approx(cka(torch.from_numpy(x), torch.from_numpy(y[order.numpy()]))(straight(30)))


def test_neighbours_are_those_that_a_loop_finds():
    x, y = features(25, 4, 1), features(25, 6, 2)
    near = []
    for one in (x, y):
        unit = torch.nn.functional.normalize(one - one.mean(0), dim=1).numpy()
        near.append([set(sorted(set(range(25)) - {i}, key=lambda j: -(unit[i] @ unit[j]))[:5]) for i in range(25)])
    expected = sum(len(a & b) for a, b in zip(*near, strict=True)) / (25 * 5)
    assert neighbours(x, y)(straight(25)) == pytest.approx(expected)
    assert neighbours(x, x @ torch.linalg.qr(features(4, 4, 3)).Q)(straight(25)) == 1


def test_unrelated_features_are_similar_by_chance_alone():
    """With as many directions as inputs raw CKA is high; above chance it is 0, and p is uniform."""
    p_values, raw, above = [], [], []
    for seed in range(60):
        others = [features(20, 40, 3 * seed + i) for i in (1, 2)]
        for found in similarities([features(20, 40, 3 * seed)], others, seed):
            p_values.append(found.best[0].p_value)
            above += [one.calibrated for one in found.table[0]]
            raw += [one.value for one in found.table[0] if found.measure == "cka"]
    assert np.mean(raw) > 0.6 and abs(np.mean(above)) < 0.01
    assert 0.02 < np.mean(np.array(p_values) <= 0.1) < 0.19  # 120 of them: .1 ± .08


def test_a_layer_is_found_behind_a_rotation():
    layers = [features(40, 6, seed) for seed in range(3)]
    turned = [layer @ torch.linalg.qr(features(6, 6, 9)).Q + 0.1 * features(40, 6, 50) for layer in layers[::-1]]
    for found in similarities(layers, turned):
        assert [best.source_layer for best in found.best] == [2, 1, 0]
        assert all(best.p_value == pytest.approx(1 / 201) and best.similarity.calibrated > 0.5 for best in found.best)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(
        MergeError, match="similarity: needs at least 10 common inputs, but there are 9. Raise calibration.limit"
    ):
        similarities([features(9, 3, 0)], [features(9, 3, 1)])
    with pytest.raises(MergeError, match="similarity: layer 1 of the source gives the same output for all 12 inputs"):
        similarities([features(12, 3, 0)], [features(12, 3, 1), torch.ones(12, 3, dtype=torch.float64)])


WORDS = ["pairing=similar", "data.limit=3", "evaluate.draws=100"]


def test_a_run_takes_the_nearest_layers_and_so_does_its_export(tmp_path):
    outcome = once([*WORDS, "lam=0.2"])
    (job,) = jobs([*WORDS, "lam=0.2"])
    bench = Workbench()
    nearest = dict(bench.activations(job.config).partners())
    assert outcome.result.merge.pairs == {str(layer): nearest[layer] for layer in range(4)}
    assert nearest != {0: 0, 1: 1, 2: 2, 3: 3}, "else nothing is tested"
    export(outcome.folder, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "mam_merge.json").read_text())
    assert record["pairs"] == outcome.result.merge.pairs
    shuffled = once([*WORDS, "lam=0.2", "control=shuffle_layers"]).result.merge
    assert all(shuffled.pairs[str(layer)] != nearest[layer] for layer in range(4))


def test_a_source_that_hears_is_compared_on_the_same_recordings():
    found = mam("inspect", "--similarity", "--json", "model.source=asset:demo_hubert")
    assert found.returncode == 0, found.stderr
    for by_measure in json.loads(found.stdout)["similarity"]:
        for best in by_measure["best"]:  # the target itself
            assert best["source_layer"] == best["layer"]
            assert best["similarity"]["value"] == pytest.approx(1) and best["p_value"] < 0.01


def test_inspect_shows_both_measures_and_the_pairs():
    shown = mam("inspect", "--similarity", "pairing=similar")
    assert shown.returncode == 0, shown.stderr
    assert "linear CKA of both models on 20 inputs" in shown.stdout and "mutual nearest neighbours" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", "data.limit=3"], "data.limit=3: does not apply to mam inspect, which reads no data"),
        (["inspect", "pairing=similar"], "pairing=similar: needs activations, but mam inspect runs no models"),
        (["merge", "pairing=similar", "out=x"], "pairing=similar: needs activations, but mam merge runs no models"),
        (["inspect", "--similarity", "model=demo_beats_vit"], "reads images, and there are none that match recordings"),
        (
            ["inspect", "--similarity", "pairing=similar", "calibration.limit=5"],
            "similarity: needs at least 10 common inputs, but there are",
        ),
        (["run", "pairing=similar", "calibration.audio=."], "have no transcripts. Set calibration.audio=train"),
    ],
)
def test_what_means_nothing_is_refused(words, message):
    shown = mam(*words)
    assert shown.returncode in (1, 2) and message in shown.stderr and "Traceback" not in shown.stderr


def test_a_plan_whose_pairs_were_not_measured_is_not_carried_out():
    (job,) = jobs(WORDS)
    plan = plan_merge(job.config, Shape(4, 128, 4), Shape(4, 128, 4))
    measured = plan_merge(job.config, Shape(4, 128, 4), Shape(4, 128, 4), partners=dict.fromkeys(range(4), 0))
    assert plan.is_provisional and not measured.is_provisional and measured.pairs == dict.fromkeys(range(4), 0)
    with pytest.raises(MergeError, match="pairing=similar: needs activations"):
        Workbench().pair(job.config).merger.apply(plan)
    with pytest.raises(UnfitError, match="reads images"):
        run(jobs(["model=demo_hubert_bert", "model.source=asset:demo_vit", *WORDS])[0], Workbench())
    with pytest.raises(ConfigError, match="calibration.limit: has no effect without .*pairing=similar"):
        jobs(["calibration.limit=3"])
