"""The source against its controls: paired, with every draw, corrected, and put into one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import data_words, jobs, predictions
from support.studies import say

from mam.config.studies import study_jobs
from mam.errors import ConfigError
from mam.evaluation.workbench import Workbench
from mam.report.study import record_study
from mam.scoring.significance import Difference
from mam.studies.analysis import analyse
from mam.studies.evidence import Comparison, _is_projected, against_controls, conclusion
from mam.studies.execute import execute, study_folder
from mam.studies.pairs import words_of_pairs


@pytest.fixture
def ended(words, tmp_path):
    """Six utterances; λ = 0, 0.3, 0.6, beside shrink and five draws of random_iid."""
    root = write_folder(tmp_path / "six", [0.6] * 6)
    axes = ["study.name=x", "+study.axes.lam=[0.0,0.3,0.6]", "+study.axes.control=[none,shrink,random_iid]"]
    plan = study_jobs(jobs([*words, f"data.root={root}", *axes, "evaluate.draws=500"])[0])
    return execute(plan, Workbench(), study_folder(plan, "x"))


ONE_EACH, NONE = [1] * 6, [0] * 6  # errors in six utterances of four words
FIVE_DRAWS = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [2, 1, 1, 1, 1, 1], [2, 2, 1, 1, 1, 1]]


def test_comparisons_are_those_of_the_saved_predictions_by_hand(ended):
    """Errors of 24 words: at 0.3 the source makes 0, shrink 6, the draws 4 to 8, 6 on average; at 0.6 6, 6 and 0.

    Where all six utterances differ in one direction, 2 of the 2^6 assignments of signs are as extreme: p = 1/32. Of
    four comparisons three have it, and Holm makes 4/32 of the first, and of the others what the first has.
    """
    said = {
        (0.3, "none"): [NONE],
        (0.3, "shrink"): [ONE_EACH],
        (0.3, "random_iid"): FIVE_DRAWS,
        (0.6, "none"): [ONE_EACH],
        (0.6, "shrink"): [ONE_EACH],
        (0.6, "random_iid"): [NONE] * 5,
    }
    for end in ended:
        if end.job.config.lam:
            say(end.outcome.folder, *said[end.job.config.lam, end.job.config.control])
    found = [
        (one.where["lam"], one.control, one.difference.absolute, one.difference.p_value, one.p_holm)
        for one in against_controls(ended)
    ]
    assert found == [
        ("0.3", "shrink", -0.25, 0.03125, 0.125),
        ("0.3", "random_iid", pytest.approx(-0.25), 0.03125, 0.125),
        ("0.6", "shrink", 0.0, 1.0, 1.0),
        ("0.6", "random_iid", 0.25, 0.03125, 0.125),
    ]
    first = against_controls(ended)[0].difference
    assert (first.relative, first.clusters, first.changed, first.better, first.worse) == (-1.0, 6, 6, 6, 0)


def test_draws_of_a_random_control_are_kept_and_pooled(ended):
    (outcome,) = [
        e.outcome for e in ended if e.job.config.control == "random_iid" and e.job.config.lam == 0.6 and e.outcome
    ]
    assert outcome.result.merge.draws == 5
    texts = [
        predictions(outcome, "predictions.jsonl"),
        *(predictions(outcome, f"predictions-{i}.jsonl") for i in range(1, 5)),
    ]
    assert len({tuple(draw) for draw in texts}) > 1, "draws must differ"
    assert outcome.result.metrics.words == 5 * outcome.result.baseline.words
    assert "and 5 draws of a side" in outcome.result.delta.test


def difference(absolute: float, p: float, changed: int = 20) -> Difference:
    ends = (absolute - 0.02, absolute + 0.02) if changed else None
    return Difference(absolute, None, ends, None, p, "", 208, "utterance", changed, changed, 0)


def beside(lam: str, **controls: tuple[float, float]) -> list[Comparison]:
    return [Comparison({"lam": lam}, name, difference(*one), one[1]) for name, one in controls.items()]


def test_one_beaten_control_does_not_show_that_content_matters():
    """Noise does what the source does, and both beat shrink: nothing follows for the content."""
    like_noise = beside(
        "0.1", shrink=(-0.05, 0.0001), random_spectrum=(0.0, 1.0), rotate=(-0.03, 0.001), shuffle_layers=(-0.03, 0.001)
    )
    assert conclusion(like_noise, 208) == (
        "no evidence that the source's content matters (n = 208): it was nowhere shown to differ from all of shrink,"
        " random_spectrum, rotate and shuffle_layers; the 95 % intervals span −7.00 to +2.00 points"
    )


def test_four_beaten_controls_show_it_after_holm_over_the_places():
    """The p of a place is its largest; two places double it."""
    beaten = {"random_spectrum": (-0.04, 0.001), "rotate": (-0.03, 0.002), "shuffle_layers": (-0.03, 0.001)}
    strong = beside("0.1", shrink=(-0.05, 0.01), **beaten)
    weak = beside("0.2", shrink=(-0.05, 0.03), **beaten)
    assert conclusion([*strong, *weak], 208) == (
        "the source's content matters (n = 208): it does better than all of shrink, random_spectrum, rotate"
        " and shuffle_layers at lam=0.1 (largest p, Holm-adjusted: 0.020); better than all of shrink,"
        " random_spectrum, rotate"
        " and shuffle_layers at lam=0.2 (largest p, Holm-adjusted: 0.030)"
    )
    assert conclusion([*strong, *beside("0.2", shrink=(0.05, 0.001), **beaten)], 208).count("at lam=") == 1
    weaker = beside("0.1", shrink=(-0.05, 0.03), **beaten)
    assert conclusion([*weaker, *weak], 208).startswith("no evidence")


def test_an_aligned_source_whose_control_is_not_aligned_is_left_out():
    beaten = {"random_spectrum": (-0.04, 0.001), "rotate": (-0.03, 0.002), "shuffle_layers": (-0.03, 0.001)}
    fair = beside("0.1", shrink=(-0.05, 0.01), **beaten)
    unfair = Comparison({"lam": "0.1", "align": "permute"}, "shrink", difference(-0.05, 0.0001), 0.0001)
    assert conclusion([*fair, unfair], 208) == (
        "the source's content matters (n = 208): it does better than all of shrink, random_spectrum, rotate"
        " and shuffle_layers at lam=0.1 (largest p, Holm-adjusted: 0.010);"
        " controls that are not aligned as the source is are ignored"
    )
    assert conclusion([unfair], 208) == (
        "nothing can be concluded about the source's content: it was aligned, and its controls were not"
    )


def test_an_aligned_source_is_compared_with_what_was_aligned_alike():
    """Where the source is aligned, aligned noise and aligned layers in another order are its rivals."""
    where = {"lam": "0.1", "align": "procrustes"}
    rivals = [
        Comparison(where, name, difference(-0.05, p), p)
        for name, p in (("aligned_random", 0.01), ("shuffle_layers", 0.02))
    ]
    bare = Comparison(where, "shrink", difference(0.05, 0.0001), 0.0001)
    assert conclusion([*rivals, bare], 208) == (
        "the source's content matters (n = 208): it does better than all of aligned_random and shuffle_layers at"
        " lam=0.1 align=procrustes (largest p, Holm-adjusted: 0.020); controls that are not aligned as the source is"
        " are ignored"
    )
    assert conclusion(rivals[:1], 208).startswith(
        "too few controls to tell whether the source's content matters: that takes aligned_random and shuffle_layers"
    )
    beaten = {"random_spectrum": (0.0, 1.0), "rotate": (-0.03, 0.002), "shuffle_layers": (-0.03, 0.001)}
    both = conclusion([*beside("0.1", shrink=(-0.05, 0.01), **beaten), *rivals], 208)
    assert both.startswith("the source's content matters") and both.count("better than all of") == 1


def test_a_projected_source_is_compared_with_noise_that_was_projected_alike():
    """A projection that is fitted to the target finds something in noise too."""
    beats = {"shrink": 0.0001, "random_spectrum": 0.0001, "rotate": 0.0001, "shuffle_layers": 0.01}
    bare = [Comparison({"lam": "0.1"}, name, difference(-0.05, p), p, is_projected=True) for name, p in beats.items()]
    assert conclusion(bare, 208).startswith(
        "too few controls to tell whether the source's content matters: that takes aligned_random and shuffle_layers"
    )
    assert conclusion(bare[:3], 208) == (
        "nothing can be concluded about the source's content: it was projected, and its controls were not"
    )
    alike = Comparison({"lam": "0.1"}, "aligned_random", difference(-0.05, 0.03), 0.03, is_projected=True)
    assert conclusion([*bare, alike], 208) == (
        "the source's content matters (n = 208): it does better than all of aligned_random and shuffle_layers at"
        " lam=0.1 (largest p, Holm-adjusted: 0.030); controls that are not projected as the source is are"
        " ignored"
    )


@pytest.mark.parametrize(
    ("words", "is_projected"),
    [
        (["model=whisper_base_minilm"], True),
        (["model=whisper_base_minilm", "project=random"], False),
        (["model=whisper_minilm"], False),
        (["model=whisper_minilm", "on_mismatch=project"], False),  # of equal width: nothing is projected
    ],
)
def test_which_sources_are_projected_to_fit(words, is_projected):
    assert _is_projected(jobs(words)[0].config) is is_projected


def test_missing_controls_are_asked_for():
    alone = conclusion(beside("0.1", shrink=(-0.05, 0.0001)), 208)
    assert alone.startswith(
        "too few controls to tell whether the source's content matters: that takes shrink, random_spectrum"
    )


def test_nothing_is_said_where_nothing_changed():
    names = ("shrink", "random_spectrum", "rotate", "shuffle_layers")
    silent = [Comparison({"lam": "0.1"}, name, difference(0.0, 1.0, 0), 1.0) for name in names]
    assert conclusion(silent, 5).endswith("no unit changed its number of errors, so nothing can be concluded")


def test_a_study_leaves_its_numbers_and_a_picture(ended, tmp_path):
    found = against_controls(ended)
    record_study(tmp_path, analyse(ended[0].job.config.study, "x", ended))
    kept = json.loads((tmp_path / "study.json").read_text())
    assert len(kept["runs"]) == 7 and kept["name"] == "x" and len(kept["comparisons"]) == 4
    assert kept["conclusion"] == conclusion(found, 6)
    assert all(Path(run["folder"], "result.json").is_file() for run in kept["runs"])
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_layer_axes_are_spelled_out():
    plan = study_jobs(jobs(["experiment=ablation_layers", "study.axes.control=[none]"])[0])
    specs = [job.config.layers.spec for job in plan]
    assert specs == ["0", "1", "2", "3", "top2", "top3", "all", "bottom2", "bottom3"]


def test_a_sweep_has_shrink_beside_it():
    made = [(job.config.lam, job.config.control) for job in jobs(["lam=0,0.1"], multirun=True)]
    assert made == [(0.0, "none"), (0.1, "none"), (0.1, "shrink")]
    alone = jobs(["lam=0.1,0.2", "control=none"], multirun=True)
    assert [(job.config.lam, job.config.control) for job in alone] == [(0, "none"), (0.1, "none"), (0.2, "none")]
    assert [job.config.control for job in jobs(["lam=0.1"])] == ["none"]


def test_a_ladder_of_given_pairs(whisper, minilm, hubert_group, bert, clips, tmp_path):
    """Shapes come from the checkpoints; what cannot be run is named, and the others go on."""
    pairs = f"study.pairs=[['{whisper}','{minilm}'],['{hubert_group}','{bert}']]"
    study = jobs(["experiment=size_ladder", pairs, *data_words(clips), "evaluate.draws=200"])[0]
    plan = study_jobs(study, words_of_pairs(study.config.study.pairs))
    names = [f"{whisper.name}+{minilm.name}", f"{hubert_group.name}+{bert.name}"]
    assert [(job.config.study.arm, job.config.control) for job in plan] == [
        (name, control) for control in ("none", "shrink") for name in names
    ]
    assert plan[0].config.model.source_shape.heads == 8 and plan[1].config.model.source_shape.heads == 4
    ended = execute(plan, Workbench(), study_folder(plan, "size_ladder"))
    assert [end.error for end in ended] == [None] * 4
    assert ended[0].job.varied(plan) == {"arm": names[0], "control": "none"}
    with pytest.raises(ConfigError, match=r"study.pairs: \['one'\] is not of the form \[TARGET, SOURCE\]"):
        words_of_pairs([["one"]])


@pytest.mark.parametrize("name", ["controls", "ablation_parts"])
def test_the_studies_run(name, words):
    """On the tiny pair: every control beside the source at each λ; every set of parts with shrink beside it."""
    study = jobs([*words, f"experiment={name}", "evaluate.draws=100"])[0]
    plan = study_jobs(study)
    ended = execute(plan, Workbench(), study_folder(plan, name))
    assert [end.error for end in ended] == [None] * len(plan)
    expected = 3 * 9 if name == "controls" else 7
    assert len(against_controls(ended)) == expected
