"""λ of every layer chosen on dev: by CMA-ES on the rate, and without labels by the least entropy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.audio import noise, write_folder
from support.models import LAYERS
from support.runs import jobs, once, pair_words, predictions
from support.searches import bowl, tried_by
from support.warm import program
from transformers import AutoProcessor, HubertForCTC, WhisperForConditionalGeneration

from mam.config.tuning import TuneConfig
from mam.errors import ConfigError, DataError, RecordError
from mam.evaluation.language import settled
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for
from mam.models.families import load_target
from mam.models.locate import locate
from mam.records.learning import ChosenLam, TuneRecord
from mam.records.reading import read_result
from mam.records.result import plain
from mam.runs.export import _at_lam_of, _chosen, _refuse_fold, export
from mam.tuning.dev import Dev
from mam.tuning.entropy import EntropyLook, best_look, least_entropy
from mam.tuning.search import SEARCHES, best

SETTINGS = {"low": 0.0, "high": 0.5, "start": 0.05, "evaluations": 60}


def test_cmaes_finds_a_lambda_for_every_layer(tmp_path):
    tried = tried_by("cmaes", bowl, tmp_path, layers=3, **SETTINGS | {"evaluations": 150})
    assert len(tried) == 150 and best(tried) == pytest.approx((0.1, 0.2, 0.3), abs=0.05)
    assert all(0 <= lam <= 0.5 for lams in tried for lam in lams)
    assert all(tried[lams] == bowl(lams) for lams in tried)


def test_cmaes_of_one_layer_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match="only one layer is merged, so there is only one λ. Set tune=golden, or select more layers"
    ):
        SEARCHES["cmaes"](bowl, TuneConfig("cmaes"), 0, tmp_path, 1)


def test_ties_go_to_the_smaller_mean():
    assert best({(0.3, 0.1): 0.1, (0.1, 0.2): 0.1, 0.0: 0.2}) == (0.1, 0.2)
    assert best({(0.3, 0.1): 0.1, 0.0: 0.1}) == 0.0


def test_a_run_with_cmaes(split_words):
    """What is recorded is what dev says; λ given by hand predicts the same; the export too."""
    words = [*split_words, "tune=cmaes", "tune.evaluations=9", "tune.high=1", "layers.spec=0,2"]
    outcome = once(words)
    tune = outcome.result.tune
    assert len(tune.tried) == 10 and plain(tune.tried[0]) == {"fold": None, "lam": 0.0, "rate": tune.tried[0].rate}
    (chosen,) = tune.chosen
    tried = {tuple(one.lams or [0.0] * LAYERS): one.rate for one in tune.tried}
    lams = tuple(chosen.lams or [0.0] * LAYERS)
    assert outcome.result.merge.lam == pytest.approx(lams) and lams[1] == 0
    assert min(tried.values()) == tried[lams]
    bench = Workbench()
    config = settled(jobs(words)[0].config, bench).config
    sample = next(lams for lams in tried if any(lams))
    assert Dev(config, bench).rate(sample) == pytest.approx(tried[sample])
    by_hand = [*split_words, "layers.spec=0,2", "schedule=list", f"schedule.values={list(lams)}", "outputs=given"]
    assert predictions(once(by_hand)) == predictions(outcome)
    assert once(words).status == "skipped"
    export(outcome.folder, Path("exported"))
    others = [word for word in split_words if not word.startswith("model.target=")]
    assert predictions(once([*others, "model.target=exported", "lam=0"])) == predictions(outcome)


def test_cmaes_that_is_not_installed_is_said(split_words):
    code = "import sys; sys.modules['cmaes'] = None; from mam.cli import main; main()"
    answer = program(["run", *split_words, "tune=cmaes"], code)
    assert (
        answer.returncode == 2 and "pip install 'mam-bench[tune]'" in answer.stderr and "Traceback" not in answer.stderr
    )


def test_the_entropy_of_ctc_by_hand(hubert_group):
    """Over letters alone, in the frames to which the unmerged model gave a letter; a blank there is silence."""
    target = load_target(locate(str(hubert_group)))
    waves = [noise(0.9, 0), noise(0.6, 1)]
    hidden = target.advance(target.front(waves), 0, target.depth)
    with torch.no_grad():
        anchors, (doubts, silent) = target.anchors(hidden), target.doubts(hidden, target.anchors(hidden))
    model, processor = HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32).eval(), None
    processor = AutoProcessor.from_pretrained(hubert_group)
    for i, wave in enumerate(waves):
        values = processor(wave, sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            chances = model(values).logits[0].double().softmax(-1).numpy()
        spoken = chances.argmax(-1) != 0
        assert anchors[i].tolist() == spoken.tolist()
        letters = chances[spoken][:, 1:] / chances[spoken][:, 1:].sum(-1, keepdims=True)
        entropies = -(letters * np.log(letters)).sum(-1)
        assert float(doubts[i]) == pytest.approx(entropies.mean() if len(entropies) else 0.0, abs=1e-4)
    assert silent.tolist() == [0.0, 0.0]
    # The same frames, of a model that calls everything blank: all silenced, and no entropy to be gained by it.
    with torch.no_grad():
        target.model.lm_head.bias[0] += 100
        loud, gone = target.doubts(hidden, anchors)
    torch.testing.assert_close(loud, doubts)
    assert gone.tolist() == [1.0 if frames.any() else 0.0 for frames in anchors]


def test_the_entropy_of_whisper_by_hand(whisper):
    target = load_target(locate(str(whisper)))
    hidden = target.advance(target.front([noise(0.9, 0), noise(0.6, 1)]), 0, target.depth)
    with torch.no_grad():
        anchors = target.anchors(hidden)
        doubts, silent = target.doubts(hidden, anchors)
        model = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32).eval()
        processor = AutoProcessor.from_pretrained(whisper)
        for i, wave in enumerate([noise(0.9, 0), noise(0.6, 1)]):
            features = processor.feature_extractor(wave, sampling_rate=16000, return_tensors="pt").input_features
            logits = model(features, decoder_input_ids=anchors[i][None, :-1]).logits[0, 1:].double()  # after the prompt
            chances = logits.softmax(-1)
            assert float(doubts[i]) == pytest.approx(float(-(chances * chances.log()).sum(-1).mean()), abs=1e-3)
            texts = target.tokenizer.decode(anchors[i], skip_special_tokens=True).strip()
            assert texts == target.transcribe(hidden)[i]
    assert all(0 <= share <= 1 for share in silent.tolist())


def test_looks_that_silence_are_not_chosen():
    looks = [EntropyLook((0.0,), 0.9, 0.0), EntropyLook((0.1,), 0.8, 0.05), EntropyLook((0.2,), 0.1, 0.5)]
    assert best_look(looks) is looks[1]
    assert best_look([looks[0], EntropyLook((0.1,), 0.9, 0.0)]) is looks[0]


def test_entropy_falls_and_the_target_is_put_back(split_words):
    words = [*split_words, "tune=entropy", "tune.epochs=6", "tune.learning_rate=0.05", "tune.high=0.9"]
    config, bench = jobs(words)[0].config, Workbench()
    target = bench.pair(config).target
    before = {name: tensor.clone() for name, tensor in target.model.state_dict().items()}
    learnable = [parameter.requires_grad for parameter in target.model.parameters()]
    heard = replace(config, data=replace(config.data, split="dev"))
    looks = least_entropy(config, bench, heard)
    assert looks[0].lams == (0.0,) * LAYERS and looks[1].lams == (0.05,) * LAYERS
    assert best_look(looks).entropy < looks[0].entropy
    assert target.model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.model.state_dict().items())
    assert [parameter.requires_grad for parameter in target.model.parameters()] == learnable
    # The recorded entropy at λ is that of the model merged so, by the ordinary way.
    last = looks[-1]
    bench.pair(config).merger.restore()
    audio = bench.audio(heard)
    waves = [audio.wave(i) for i in range(len(audio.samples))]
    with torch.no_grad():
        anchors = [target.anchors(target.advance(target.front([wave]), 0, LAYERS))[0] for wave in waves]
        bench.pair(config).merger.apply(plan_for(config, bench.pair(config), last.lams))
        found = [
            target.doubts(target.advance(target.front([wave]), 0, LAYERS), [anchor])[0][0]
            for wave, anchor in zip(waves, anchors, strict=True)
        ]
    assert float(torch.stack(found).mean()) == pytest.approx(last.entropy, abs=1e-4)


def test_a_run_with_entropy_reads_no_label(split_words, tmp_path):
    """Other transcripts in dev, the same λ; recorded as what it is."""
    words = [*split_words, "tune=entropy", "tune.epochs=2", "tune.learning_rate=0.05"]
    first = once(words)
    table = tmp_path / "data" / "metadata.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(f"{row.split(',')[0]},XX,{row.split(',')[2]}" for row in rows[1:])]) + "\n")
    second = once(words)
    tune = first.result.tune
    assert second.status == "finished" and second.result.tune.chosen == tune.chosen
    assert tune.transductive is False and [one.rate for one in tune.tried] == [None] * 4
    assert not any("transductive" in note for note in first.result.diagnostics)
    on_test = once([*words, "tune.audio=test"]).result
    assert on_test.tune.transductive is True
    assert any(
        "λ was chosen on the test recordings themselves, without their labels" in note for note in on_test.diagnostics
    )


def test_a_collapse_is_not_chosen_and_said(split_words, monkeypatch):
    from mam.models.ctc import CTCTarget

    honest = CTCTarget.doubts

    def silencing(self, hidden, anchors):
        doubts, silent = honest(self, hidden, anchors)
        is_merged = any("q_proj.parametrizations" in name for name, _ in self.model.named_parameters())
        return (doubts * 0.1, silent * 0 + 0.4) if is_merged else (doubts, silent)

    monkeypatch.setattr(CTCTarget, "doubts", silencing)
    result = once([*split_words, "tune=entropy"]).result
    assert result.merge.lam == [0.0] * LAYERS and len(result.tune.tried) == 3  # it ended at once
    assert any("in 2 of 3 steps, more than 10 %" in note for note in result.diagnostics)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune=entropy", "tune.audio=train"], "tune.audio=train: not known. Choose one of: dev, test"),
        (["tune=entropy", "tune.epochs=0"], "tune.epochs=0: must be from 1 to 10 000"),
        (["tune=entropy", "tune.learning_rate=0"], "tune.learning_rate=0.0: must be above 0 and 1 or less"),
        (["tune=entropy", "tune.start=0.7"], "tune.start=0.7: must be from tune.low=0 to tune.high=0.5"),
        (
            ["tune=entropy", "tune.evaluations=5"],
            "tune.evaluations: has no effect without tune=golden or",
        ),
        (["tune=entropy", "method=slerp"], "tune=entropy works only with method=linear. Set tune=cmaes"),
        (
            ["tune=entropy", "model=demo_beats_vit", "data=demo_sounds"],
            "tune=entropy: needs the outputs of a speech recogniser; audio events have none before a probe is fitted",
        ),
        (["tune=cmaes", "schedule=linear"], "schedule=linear: tune=cmaes chooses the λ of every layer"),
        (["tune=cmaes", "lam=0.1"], "lam: has no effect, since tune=cmaes chooses λ"),
        (["tune=grid", "tune.start=0.1"], "tune.start: has no effect without tune=cmaes or entropy"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words, message):
    with pytest.raises(ConfigError) as caught:
        jobs(words)
    assert message in str(caught.value)


def test_without_dev_there_is_nothing_to_listen_to(words):
    with pytest.raises(DataError, match="the split is empty"):
        once([word for word in words if word != "data.split=all"] + ["tune=entropy"])


def test_listening_to_test_needs_no_dev(hubert_group, bert, tmp_path):
    data = write_folder(tmp_path / "test", [0.6, 0.9], split=["test"] * 2)
    words = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}", "evaluate.draws=200"]
    result = once([*words, "tune=entropy", "tune.epochs=1", "tune.audio=test"]).result
    assert result.tune.transductive is True


def test_any_seed_serves(tmp_path):
    assert len(tried_by("cmaes", bowl, tmp_path, seed=2**40 + 1, layers=2, **SETTINGS)) == 60


def test_lambdas_by_fold_are_exported_by_fold(split_words):
    outcome = once([*split_words, "lam=0.3"])
    result, config = read_result(outcome.folder), jobs([*split_words, "lam=0.3"])[0].config
    assert _chosen(result, None) is None and _at_lam_of(config, result, None) == (config, None)
    chosen = [ChosenLam("1", 0.1, [0.0, 0.2, 0.1]), ChosenLam("2", 0.1, [0.2, 0.0, 0.1])]
    by_fold, for_all = (replace(result, tune=TuneRecord("cmaes", some, [], 1.0, [])) for some in (chosen, chosen[:1]))
    assert _chosen(by_fold, "2") == [0.2, 0.0, 0.1] and _chosen(for_all, None) == [0.0, 0.2, 0.1]
    for fold in (None, "3"):
        with pytest.raises(RecordError, match=r"has one model per fold\. Set fold to one of 1, 2"):
            _refuse_fold(outcome.folder, by_fold, fold)
    at, lams = _at_lam_of(config, by_fold, "1")
    assert plan_for(at, Workbench().pair(at), at.lam).lams == (0.0, 0.2, 0.1) == tuple(lams)
    one = replace(result, tune=TuneRecord("grid", [ChosenLam("1", 0.25), ChosenLam("2", 0.25)], [], 1.0, []))
    assert _at_lam_of(config, one, None)[0].lam == 0.25  # all folds chose the same
