"""Which language a run is in, how it is come by, and what follows from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.audio import write_folder
from support.merging import merge_by_hand
from support.models import make_whisper
from support.runs import data_words, jobs, once, pair_words, predictions
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

from mam.errors import CheckpointError, ConfigError
from mam.evaluation.language import _with_metric, settled
from mam.evaluation.model_pair import checked_parents
from mam.evaluation.workbench import Workbench
from mam.models.targets import Target
from mam.records.reading import read_config, read_result
from mam.records.result import plain
from mam.report.inspection import show_inspection
from mam.report.run_table import show_run
from mam.runs.compare import compare
from mam.runs.inspection import inspect
from mam.runs.rescore import rescore
from mam.terminal import Terminal


def settle(words: list[str], bench: Workbench | None = None):
    return settled(jobs(words)[0].config, bench or Workbench())


def test_the_language_asked_for_is_used_in_decoding_and_recorded(spoken, polyglot, bert, clips):
    """The hypotheses are those of plain transformers, merged by hand and told the language."""
    outcome = once([*spoken, "model.language=Italian", "lam=0.3"])
    reference = WhisperForConditionalGeneration.from_pretrained(polyglot, dtype=torch.float32).eval()
    extractor, tokenizer = (kind.from_pretrained(polyglot) for kind in (WhisperFeatureExtractor, WhisperTokenizer))
    bench, config = Workbench(), jobs([*spoken, "model.language=it"])[0].config
    waves = bench.audio(config).waves(range(5))
    for lam, name in ((0.0, "baseline.jsonl"), (0.3, "predictions.jsonl")):
        if lam:
            merge_by_hand([layer.self_attn for layer in reference.model.encoder.layers], bert, lam)
        features = [extractor(wave, sampling_rate=16000, return_tensors="pt").input_features for wave in waves]
        told = {"language": "it", "task": "transcribe", "do_sample": False}
        ids = [reference.generate(one, **told)[0] for one in features]
        assert predictions(outcome, name) == [tokenizer.decode(one, skip_special_tokens=True).strip() for one in ids]
    result = outcome.result
    assert read_result(outcome.folder) == result
    assert plain(result.model.decoder) == {
        "language": "it",
        "task": "transcribe",
        "from": "config",
        "share": None,
        "prompt": ["<|startoftranscript|>", "<|it|>", "<|transcribe|>", "<|notimestamps|>"],
    }
    assert (result.data.language, result.data.normalizer) == ("it", "multilingual")


def test_another_language_is_another_question_its_names_are_not(spoken):
    hashes = {
        word: once([*spoken, "lam=0", *word.split()]).result.hash
        for word in ("model.language=it", "model.language=de", "model.language=it model.speech_task=translate")
    }
    assert len(set(hashes.values())) == 3
    assert once([*spoken, "lam=0", "model.language=ITALIAN"]).status == "skipped"
    resolved = jobs(spoken)[0].resolved
    assert "language" not in resolved["model"] | resolved["data"] and "speech_task" not in resolved["model"]


def test_baselines_of_two_languages_are_not_mistaken_for_each_other(spoken):
    """They lie in one cache."""
    bench = Workbench()
    said = [predictions(once([*spoken, "lam=0", f"model.language={code}"], bench)) for code in ("it", "ja", "it")]
    assert said[0] == said[2] != said[1]


def test_a_language_nobody_states_is_detected_once_for_a_sweep(spoken, polyglot, monkeypatch):
    """By the summed probabilities of the clips, computed here by plain transformers."""
    heard = []
    tongues = type(Workbench().pair(jobs(spoken)[0].config).target).tongues
    monkeypatch.setattr(
        "mam.models.whisper.Whisper.tongues", lambda self, hidden: heard.append(1) or tongues(self, hidden)
    )
    bench = Workbench()
    first, second = (once([*spoken, f"lam={lam}"], bench) for lam in (0, 0.6))
    assert len(heard) == 5  # a clip each, for both runs
    decoders = [outcome.result.model.decoder for outcome in (first, second)]
    assert decoders[0] == decoders[1] and decoders[0].origin == "detected"
    plain = WhisperForConditionalGeneration.from_pretrained(polyglot, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(polyglot)
    features = extractor(bench.audio(jobs(spoken)[0].config).waves(range(5)), sampling_rate=16000, return_tensors="pt")
    start = torch.full((5, 1), plain.config.decoder_start_token_id)
    ids = plain.generation_config.lang_to_id
    with torch.inference_mode():
        scores = plain(features.input_features, decoder_input_ids=start).logits[:, -1, list(ids.values())]
    shares = scores.softmax(-1).mean(0)
    assert decoders[0].language == list(ids)[int(shares.argmax())].strip("<|>")
    assert decoders[0].share == pytest.approx(float(shares.max()), rel=1e-4)
    doubt = [note for note in first.result.diagnostics if "is uncertain" in note]
    assert bool(doubt) == (float(shares.max()) < 2 / 3)


def test_at_most_sixteen_clips_of_thirty_seconds_decide(bert, tmp_path, monkeypatch):
    lengths = []

    def front(self, waves):
        lengths.append(len(waves[0]))
        return self.embed(self.listen(waves))

    monkeypatch.setattr(Target, "front", front)
    root = write_folder(tmp_path / "many", [31.0, *[0.3] * 17])
    target = make_whisper(tmp_path / "target", ["de", "it"], seconds=30)
    settle([*pair_words(target, bert), *data_words(root)])
    assert lengths == [480_000, *[4_800] * 15]


def test_what_the_checkpoint_states_is_used(edited, bert, clips):
    found = settle([*pair_words(edited(language="<|de|>"), bert), *data_words(clips)])
    assert (found.prompt.language, found.origin) == ("de", "generation_config")
    assert (found.config.data.language, found.config.data.normalizer) == ("de", "multilingual")


def test_an_english_only_one_writes_english(whisper, bert, clips):
    found = settle([*pair_words(whisper, bert), *data_words(clips)])
    assert plain(found.decoder) == {
        "language": "en",
        "task": "transcribe",
        "from": "vocabulary",
        "share": None,
        "prompt": ["<|startoftranscript|>", "<|notimestamps|>"],
    }
    assert (found.config.data.language, found.config.data.normalizer) == ("en", "whisper_english")
    assert found.notes == ()


def test_ctc_targets_are_in_the_language_of_their_letters(hubert_group, bert, clips, tmp_path):
    words = [*pair_words(hubert_group, bert), *data_words(clips)]
    found = settle(words)
    assert found.decoder is None and found.config.model.language is None
    assert (found.config.data.language, found.config.data.normalizer) == ("en", "hubert_english")
    found = settle([*words, "data.language=de"])
    assert (found.config.data.language, found.config.data.normalizer) == ("de", "multilingual")
    other = shutil.copytree(hubert_group, tmp_path / "umlauts")
    letters = json.loads((other / "vocab.json").read_text())
    (other / "vocab.json").write_text(json.dumps({"Ä" if key == "Q" else key: i for key, i in letters.items()}))
    found = settle([*pair_words(other, bert), *data_words(clips)])
    assert (found.config.data.language, found.config.data.normalizer) == (None, "multilingual")


def test_what_is_said_of_the_references_leads(spoken):
    found = settle([*spoken, "model.language=it", "data.language=french"])
    assert (found.config.data.language, found.config.data.normalizer) == ("fr", "multilingual")
    assert found.notes == ("the references are in French (fr) (data.language), but the decoder writes Italian (it)",)
    found = settle([*spoken, "model.language=it", "data.normalizer=hubert_english"])
    assert found.notes == ("data.normalizer=hubert_english: is for English, but the references are in Italian (it)",)
    found = settle([*spoken, "model.language=it", "model.speech_task=translate"])
    assert (found.config.data.language, found.config.data.normalizer) == ("en", "whisper_english")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.language=klingon"], "model.language=klingon: not a language that Whisper knows. Choose a code or an"),
        (["model.language=ga"], "model.language=ga: not a language that Whisper knows"),
        (["data.language=elvish"], "data.language=elvish: not a language code"),
        (["model.language=false"], "model.language=False: YAML reads an unquoted no as false. Use 'no' or norwegian"),
        (["model.speech_task=sing"], "model.speech_task=sing: not known. Choose one of: transcribe, translate"),
        (["model=demo_beats_vit", "data=esc50", "model.language=it"], "model.language: has no effect on audio events"),
    ],
)
def test_what_can_be_refused_without_a_model(words, message):
    with pytest.raises(ConfigError) as error:
        jobs(words)
    assert message in str(error.value)


def test_a_data_set_of_speech_may_be_heard_as_sounds():
    """What it says of its language is no part of the question then."""
    said, unsaid = (jobs(["model=demo_beats_vit", f"data.language={code}"])[0] for code in ("en", "null"))
    assert said.signature == unsaid.signature


def test_norwegian_is_a_language_not_a_boolean():
    assert jobs(["model.language=no"])[0].config.model.language == "no"


def test_languages_that_the_target_is_not_told_are_refused(hubert_group, whisper, spoken, bert, clips):
    ctc = [*pair_words(hubert_group, bert), *data_words(clips)]
    cases = (
        (
            [*ctc, "model.language=it"],
            r"has no such setting\. Leave model.language out. The language of the references is data.language",
        ),
        ([*ctc, "model.speech_task=translate"], "which has no such setting"),
        ([*pair_words(whisper, bert), *data_words(clips), "model.language=it"], r"is English-only .* Use a multil"),
        ([*pair_words(whisper, bert), *data_words(clips), "model.speech_task=translate"], r"only transcribes"),
        ([*spoken, "model.language=yue"], r"has no token for Cantonese \(yue\)"),
    )
    for words, message in cases:
        with pytest.raises(CheckpointError, match=message):
            once(words)
        assert not list(Path("outputs").glob("*/*"))
        config = jobs(words)[0].config
        with pytest.raises(CheckpointError, match=message):
            inspect(config, checked_parents(config))


def test_readers_take_the_normalizer_that_the_run_used(spoken):
    """auto is settled once; what is scored later is scored as it was."""
    first, second = (once([*spoken, "model.language=it", f"lam={lam}"]) for lam in (0.2, 0.5))
    config = read_config(first.folder)
    assert (config.data.language, config.data.normalizer) == ("it", "multilingual")
    again, _ = rescore(first.folder, "auto", "7")
    assert again.data.normalizer == "multilingual" and again.metrics == first.result.metrics
    assert rescore(first.folder, "basic", None)[0].data.normalizer == "basic"
    assert compare(first.folder, second.folder).n == 5


def test_the_screen_says_language_prompt_and_normalizer(spoken, whisper, hubert_group, bert, clips, capsys):
    outcome = once([*spoken, "model.language=it", "lam=0"])
    show_run(Terminal(), outcome.result, outcome.folder)
    shown = " ".join(capsys.readouterr().out.split())
    assert "text Italian (it), set by model.language, normalizer multilingual" in shown
    assert "prompt <|startoftranscript|><|it|><|transcribe|><|notimestamps|>" in shown

    def inspected(words: list[str]) -> str:
        config = jobs(words)[0].config
        show_inspection(Terminal(), inspect(config, checked_parents(config)))
        return " ".join(capsys.readouterr().out.split())

    assert (
        "language Italian (it), set by model.language prompt <|startoftranscript|><|it|><|transcribe|><|notimestamps|>"
        " normalizer multilingual"
    ) in inspected([*pair_words(Path(jobs(spoken)[0].config.model.target), bert), "model.language=it"])
    assert (
        "language detected from the audio when run prompt"
        " <|startoftranscript|><|LANGUAGE|><|transcribe|><|notimestamps|> normalizer chosen by the detected language"
    ) in inspected(pair_words(Path(jobs(spoken)[0].config.model.target), bert))
    assert (
        "language English (en), English-only vocabulary prompt <|startoftranscript|><|notimestamps|>"
        " normalizer whisper_english"
    ) in inspected(pair_words(whisper, bert))
    assert (
        "language English (en), from the letters of its vocabulary prompt none (CTC) normalizer hubert_english"
        in inspected(pair_words(hubert_group, bert))
    )


@pytest.mark.parametrize(
    ("language", "texts", "metric"),
    [
        ("zh", ["hello"], "cer"),
        ("it", ["今天"], "wer"),
        (None, ["今天天气很好", "ok", None], "cer"),
        (None, ["hi"], "wer"),
    ],
)
def test_the_metric_follows_the_language_else_the_script_of_the_whole_corpus(language, texts, metric):
    corpus = SimpleNamespace(column=lambda name: texts)
    bench = SimpleNamespace(audio=lambda config: SimpleNamespace(corpus=corpus))
    config = jobs([f"data.language={language or 'null'}"])[0].config
    assert _with_metric(config, bench).data.metric == metric
    said = jobs(["data.metric=wer"])[0].config
    assert _with_metric(said, bench) is said
