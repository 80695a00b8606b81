"""λ chosen on dev: what each search tries, who never sees test, what is recorded, what goes on after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.audio import write_sounds
from support.models import LAYERS
from support.runs import jobs, once, predictions
from support.searches import tried_by
from support.warm import program

from mam.errors import ConfigError, DataError
from mam.evaluation.language import settled
from mam.evaluation.workbench import Workbench
from mam.small_files import read_jsonl
from mam.tuning.dev import Dev
from mam.tuning.search import SEARCHES, best


def valley(lam):
    return (lam - 0.137) ** 2


def test_ties_go_to_the_smallest():
    assert best({0.3: 0.1, 0.0: 0.2, 0.1: 0.1}) == 0.1


def test_the_grid_tries_what_it_is_given(tmp_path):
    assert list(tried_by("grid", valley, tmp_path, values=[0.5, 0, 0.1, 0.1])) == [0, 0.1, 0.5]


def test_golden_section_closes_in_on_a_valley(tmp_path):
    seen = tried_by("golden", valley, tmp_path, low=0, high=0.5, evaluations=14)
    assert len(seen) == 14 and best(seen) == pytest.approx(0.137, abs=2e-3)
    first, second = list(seen)[:2]
    assert (first, second) == pytest.approx((0.191, 0.309), abs=1e-3)  # 0.5 · 0.382, 0.5 · 0.618


def test_optuna_finds_a_valley_and_never_asks_twice_for_what_it_knows(tmp_path):
    whole = tried_by("optuna", valley, tmp_path, low=0, high=0.5, evaluations=12)
    assert best(whole) == pytest.approx(0.137, abs=0.05) and len(whole) == 12
    assert all(0 <= lam <= 0.5 for lam in whole)


@pytest.mark.parametrize("name", ["grid", "race", "golden", "optuna"])
def test_a_run_chooses_on_dev_and_reports_on_test(split_words, name):
    values = ["tune.values=[0,0.3,0.8]"] if name in ("grid", "race") else ["tune.evaluations=4", "tune.high=0.9"]
    outcome = once([*split_words, f"tune={name}", *values])
    tune = outcome.result.tune
    chosen = tune.chosen[0].lam
    rates = {one.lam: one.rate for one in tune.tried}
    assert 0 in rates and best(rates) == chosen and len(rates) >= 3
    assert outcome.result.data.n == 3 and outcome.result.merge.lam == [chosen] * LAYERS
    # The same λ given by hand: the same predictions on test; and its rate on dev is the one that was recorded.
    given = once([*split_words, f"lam={chosen}", "outputs=given"])
    assert predictions(given) == predictions(outcome)
    on_dev = once([*split_words, f"lam={chosen}", "data.split=dev", "outputs=dev"]).result
    assert on_dev.metrics.wer == pytest.approx(rates[chosen])
    assert once([*split_words, f"tune={name}", *values]).status == "skipped"
    assert not Path("outputs/unfinished").exists()


def test_a_random_control_is_chosen_for_by_the_mean_of_its_draws(split_words):
    outcome = once([*split_words, "tune=grid", "tune.values=[0.4,0.8]", "control=random_iid"])
    rates = {one.lam: one.rate for one in outcome.result.tune.tried}
    by_hand = once([*split_words, "lam=0.4", "control=random_iid", "data.split=dev", "outputs=dev"]).result
    assert rates[0.4] == pytest.approx(by_hand.metrics.wer)  # which pools five draws


def test_of_sounds_every_fold_is_chosen_for_on_the_next(event_words, tmp_path):
    words = [word for word in event_words if not word.startswith("data.root=")]
    words.append(f"data.root={write_sounds(tmp_path / 'more', folds=3, each=3)}")
    values = [0, 0.4, 1]
    outcome = once([*words, "tune=grid", f"tune.values={values}"])
    tune = outcome.result.tune
    assert [one.fold for one in tune.chosen] == ["1", "2", "3"]
    per_lam = {
        lam: read_jsonl(
            once([*words, f"lam={lam}", "data.split=dev", f"outputs=dev{lam}"]).folder / "predictions.jsonl"
        )
        for lam in values
    }
    for fold, following in (("1", 2), ("2", 3), ("3", 1)):
        rates = {}
        for lam, rows in per_lam.items():
            mine = [row for row in rows if row["fold"] == following]
            rates[lam] = sum(row["label"] != row["prediction"] for row in mine) / len(mine)
        assert {one.lam: one.rate for one in tune.tried if one.fold == fold} == pytest.approx(rates)
        (chosen,) = [one.lam for one in tune.chosen if one.fold == fold]
        assert chosen == best(rates)
        # On test, the fold's clips are predicted by the model merged at its own λ.
        given = read_jsonl(once([*words, f"lam={chosen}", f"outputs=test{chosen}"]).folder / "predictions.jsonl")
        tested = read_jsonl(outcome.folder / "predictions.jsonl")
        assert [row for row in tested if str(row["fold"]) == fold] == [row for row in given if str(row["fold"]) == fold]
    mean = np.mean([one.lam for one in tune.chosen])
    assert outcome.result.merge.lam == pytest.approx([mean] * LAYERS)


def test_after_a_kill_one_evaluation_serves_every_fold(event_words, tmp_path, monkeypatch):
    words = [word for word in event_words if not word.startswith("data.root=")]
    words += [f"data.root={write_sounds(tmp_path / 'more', folds=3, each=3)}", "tune=grid", "tune.values=[0,0.4,1]"]
    whole = once([*words, "outputs=whole"]).result
    grid, folds = SEARCHES["grid"], []

    def fatal(rate, settings, seed, folder, layers):
        folds.append(folder.name)
        if len(folds) == 2:
            raise KeyboardInterrupt
        return grid(rate, settings, seed, folder, layers)

    monkeypatch.setitem(SEARCHES, "grid", fatal)
    with pytest.raises(KeyboardInterrupt):
        once(words)
    assert folds == ["1", "2"] and list(Path("outputs/unfinished").glob("*/known.json"))
    monkeypatch.setattr(Dev, "_draws_of", lambda *_: pytest.fail("evaluated again"))
    assert once(words).result.tune == whole.tune and folds == ["1", "2", "1", "2", "3"]


def test_some_of_dev_counts_as_it_does_in_all_of_it(split_words):
    bench = Workbench()
    dev = Dev(settled(jobs([*split_words, "tune=race"])[0].config, bench).config, bench)
    whole = dev.counted(0.3)
    errors, lengths = dev.some(0.3, [3, 0])
    assert errors.tolist() == whole.errors[[3, 0]].tolist() and lengths.tolist() == whole.lengths[[3, 0]].tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune=grid", "lam=0.1"], "lam: has no effect, since tune=grid chooses λ"),
        (["tune=grid", "train=lmam"], "tune=grid: cannot be used with a training"),
        (["tune=race", "data.split=dev"], "λ is chosen on dev, so results must be on other data"),
        (["tune=grid", "tune.values=[0.1]"], "must be two or more different λ from 0 to 1"),
        (["tune=grid", "tune.values=[0,2]"], "must be two or more different λ from 0 to 1"),
        (["tune=grid", "tune.low=0.1"], "tune.low: has no effect without tune=golden or optuna"),
        (["tune=golden", "tune.low=0.6"], "low must be below high, and both from 0 to 1"),
        (["tune=golden", "tune.evaluations=1"], "must be from 3 to 10 000"),
        (["tune=race", "tune.alpha=1"], "tune.alpha=1.0: must be above 0 and below 1"),
        (["tune=race", "tune.looks=0"], "tune.looks=0: must be from 1 to 20"),
        (["tune.values=[0,1]"], "tune.values: has no effect without tune=grid or race"),
        (["tune=nonsense"], "tune=nonsense: not known. Choose one of:\n      agreement"),
        (
            ["tune=race", "model=demo_beats_vit", "data=demo_sounds"],
            "tune=race: cannot be used for audio events, which are scored on whole folds",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(words, message):
    with pytest.raises(ConfigError) as caught:
        jobs(words)
    assert message in str(caught.value)


def test_without_dev_there_is_no_choice(words, clips):
    with pytest.raises(DataError, match="data.split=test: the split is empty"):
        once([word for word in words if word != "data.split=all"] + ["tune=grid"])


def test_optuna_that_is_not_installed_is_said(split_words):
    code = "import sys; sys.modules['optuna'] = None; from mam.cli import main; main()"
    answer = program(["run", *split_words, "tune=optuna"], code)
    assert answer.returncode == 2 and "pip install 'mam-bench[tune]'" in answer.stderr
    assert "Traceback" not in answer.stderr
