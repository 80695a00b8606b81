"""What is said of the course of λ and of the loss on dev."""

from __future__ import annotations

from mam.config.schema import Config
from mam.config.training import LamConfig, TrainConfig
from mam.training.diagnostics import of_lambdas, slower_than_ft


def said(course, constraint="clamp", fold=""):
    config = Config(train=TrainConfig(name="lmam", lam=LamConfig(constraint=constraint)))
    return of_lambdas([(step, dict(zip("012", lams, strict=False))) for step, lams in course], config, fold)


def test_lambdas_that_rest_end_at_a_bound_or_still_drift():
    settled = [(0, (0.05, 0.1)), (50, (0.1, 0.2)), (80, (0.11, 0.22)), (100, (0.112, 0.221))]
    assert said(settled) == []
    assert said([(0, (0.05, 0.1)), (100, (0.0501, 0.1))]) == ["λ in every layer changed by less than 0.001"]
    at_bounds = [(0, (0.05, 0.5)), (50, (0.0, 1.0)), (80, (0.0, 1.0)), (100, (0.0, 1.0))]
    ends = ["λ in layer 0 stopped at 0, the lower bound", "λ in layer 1 stopped at 1, the upper bound"]
    assert said(at_bounds, fold="fold 2") == [f"fold 2: {end}" for end in ends]
    assert said([(0, (-0.9,)), (80, (-1.0,)), (100, (-1.0,))], "tanh") == [
        "λ in every layer stopped at −1, the lower bound"
    ]
    assert said(at_bounds, constraint="none") == []
    drifting = [(0, (0.05, 0.1)), (80, (0.1, 0.2)), (100, (0.2, 0.2))]
    assert said(drifting) == ["λ in layer 0 was still changing at the end: train longer"]
    assert said([]) == []


def test_slower_than_ft_counts_steps_to_its_final_loss():
    def losses(*values):
        return [{"step": 10 * i, "eval_loss": value} for i, value in enumerate(values)] + [{"step": 5, "loss": 1.0}]

    ft = losses(3.0, 2.0, 1.0, 1.0)
    assert slower_than_ft(losses(3.0, 1.0, 0.9, 0.8), ft) == []
    assert slower_than_ft(losses(3.0, 2.0, 1.5, 0.9), ft) == [
        "slower than FT: reached FT's final dev loss (1.000) after 30 steps instead of 20"
    ]
    assert slower_than_ft(losses(3.0, 2.0, 1.5, 1.2), ft, "fold 1") == [
        "fold 1: slower than FT: did not reach FT's final dev loss (1.000) in 30 steps"
    ]
    assert slower_than_ft([], ft) == [] and slower_than_ft(ft, []) == []
