"""What a checkpoint's files say of the decoder's prompt."""

from __future__ import annotations

import json

import pytest

from mam.errors import CheckpointError
from mam.models.hub import load_tokenizer
from mam.models.locate import locate
from mam.models.prompt import Prompts
from mam.scoring.language_codes import LANGUAGES


def published(size: int, **settings: object) -> Prompts:
    """The special tokens of OpenAI's checkpoints with so many tokens, by the layout that Whisper's code gives them."""
    end = 50_256 if size == 51_864 else 50_257
    codes = [code for code in LANGUAGES if code != "yue" or size == 51_866]
    names = ["endoftext", "startoftranscript", *codes, "translate", "transcribe", "startoflm", "startofprev"]
    names += ["nospeech", "notimestamps"]
    return Prompts("one", size, {f"<|{name}|>": end + n for n, name in enumerate(names)}, settings)


@pytest.mark.parametrize(
    ("size", "language", "expected"),
    [
        (51_864, "en", (50_257, 50_362)),
        (51_865, "it", (50_258, 50_274, 50_359, 50_363)),
        (51_865, "en", (50_258, 50_259, 50_359, 50_363)),
        (51_866, "it", (50_258, 50_274, 50_360, 50_364)),
        (51_866, "yue", (50_258, 50_358, 50_360, 50_364)),
    ],
)
def test_prompts_of_published_checkpoints(size, language, expected):
    assert published(size).prompt(language, "transcribe").ids == expected


def test_translation_has_its_own_token():
    assert published(51_865).prompt("Italian", "translate").ids == (50_258, 50_274, 50_358, 50_363)
    with pytest.raises(CheckpointError, match="speech_task=translate: one is English-only and only transcribes"):
        published(51_864).prompt("en", "translate")


@pytest.mark.parametrize("settings", [{}, {"_from_model_config": True}, {"is_multilingual": False}])
@pytest.mark.parametrize("size", [51_865, 51_866, 51_872, 52_000])  # as published, padded, extended
def test_a_multilingual_vocabulary_is_one_whatever_is_stated(size, settings):
    if size > 51_866:
        tokens = published(51_865).tokens
        found = Prompts("one", size, tokens, settings)
    else:
        found = published(size, **settings)
    assert found.is_multilingual and found.chosen(None) == (None, "detected")
    assert found.chosen("german") == ("de", "config")


@pytest.mark.parametrize("settings", [{}, {"is_multilingual": True, "language": "de"}])
def test_an_english_only_vocabulary_is_one_though_it_has_tokens_of_all_languages(settings):
    found = published(51_864, **settings)
    assert found.languages["it"] and not found.is_multilingual
    assert found.chosen(None) == found.chosen("English") == ("en", "vocabulary")
    with pytest.raises(CheckpointError, match=r"model.language=it: one is English-only \(51,864 tokens\)\. Use"):
        found.chosen("it")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"language": "de"}, ("de", "generation_config")),
        ({"language": "<|de|>"}, ("de", "generation_config")),
        ({"language": "German"}, ("de", "generation_config")),
        ({"forced_decoder_ids": [[1, 50_261], [2, 50_359]]}, ("de", "generation_config")),
        ({"forced_decoder_ids": [[1, None], [2, 50_359]]}, (None, "detected")),
        # Published config.json files force English on every language; a copy of them states nothing.
        ({"forced_decoder_ids": [[1, 50_259], [2, 50_359]], "_from_model_config": True}, (None, "detected")),
        ({"forced_decoder_ids": "odd"}, (None, "detected")),
        ({"language": "it", "forced_decoder_ids": [[1, 50_261]]}, ("it", "generation_config")),
    ],
)
def test_languages_that_a_checkpoint_states(settings, expected):
    assert published(51_865, **settings).chosen(None) == expected
    assert published(51_865, **settings).chosen("fr") == ("fr", "config")


@pytest.mark.parametrize(
    ("size", "settings", "asked", "message"),
    [
        (51_865, {"language": "klingon"}, None, r"language=klingon: is not a language .* Set model.language=CODE"),
        (
            51_865,
            {},
            "yue",
            r"model.language=yue: the tokenizer of one has no token for Cantonese \(yue\)\. It has: af",
        ),
        (
            51_865,
            {"lang_to_id": {"<|it|>": 50_275}},
            "it",
            r"<\|it\|> is 50275 in its generation_config.json but 502",
        ),
        (51_866, {"no_timestamps_token_id": 50_363}, "it", "notimestamps.* is 50363 in .*but 50364 in its tokenizer"),
        (51_865, {"task_to_id": {"transcribe": 1}}, "it", r"<\|transcribe\|> is 1 in its generation_config.json but"),
    ],
)
def test_what_does_not_fit_is_refused(size, settings, asked, message):
    with pytest.raises(CheckpointError, match=message):
        found = published(size, **settings)
        found.prompt(found.chosen(asked)[0], "transcribe")


@pytest.mark.parametrize(
    ("size", "settings", "words"),
    [
        (51_865, {"is_multilingual": True}, []),
        (51_865, {}, ["has no generation_config.json"]),
        (51_865, {"is_multilingual": False}, ["is treated as multilingual because of its vocabulary, although its"]),
        (51_864, {"is_multilingual": True}, ["is treated as English-only because of its vocabulary, although its"]),
        (51_865, {"task": "translate"}, ["has task=translate, but this run uses model.speech_task=transcribe"]),
        (
            51_865,
            {"forced_decoder_ids": [[1, 50_261], [2, 50_358]]},
            ["has task=translate, but this run uses model.speech_task="],
        ),
        (51_865, {"return_timestamps": True}, ["asks for timestamps"]),
    ],
)
def test_what_is_done_otherwise_than_the_settings_ask_is_said(size, settings, words):
    notes = published(size, **settings).notes("transcribe")
    assert len(notes) == len(words) and all(word in note for word, note in zip(words, notes, strict=True))


def test_files_that_do_not_belong_together_are_refused(polyglot, whisper, edited, tmp_path):
    checkpoint, other = locate(str(polyglot)), load_tokenizer(locate(str(whisper)))
    with pytest.raises(CheckpointError, match=r"<\|startoftranscript\|> is \d+ in its tokenizer, but decoder_start_t"):
        Prompts.of(locate(str(edited(decoder_start_token_id=7))), load_tokenizer(checkpoint))
    with pytest.raises(CheckpointError, match=r"its tokenizer has ids up to \d+, but its head has \d+ outputs"):
        Prompts.of(locate(str(whisper)), load_tokenizer(checkpoint))
    with pytest.raises(CheckpointError, match="is multilingual .*, but its tokenizer has no language tokens"):
        vocabulary = Prompts("one", 51_865, {k: v for k, v in published(51_865).tokens.items() if len(k) > 7}, {})
        vocabulary.check(None)
    with pytest.raises(CheckpointError, match=r"its tokenizer has no <\|notimestamps\|>"):
        Prompts("one", 9, {"<|endoftext|>": 0, "<|startoftranscript|>": 1}, {}).check(None)
    assert not Prompts.of(locate(str(whisper)), other).is_multilingual
    broken = edited()
    (broken / "generation_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="generation_config.json: cannot be read as JSON"):
        Prompts.of(locate(str(broken)), load_tokenizer(checkpoint))
    (broken / "generation_config.json").write_text(json.dumps([1]))
    with pytest.raises(CheckpointError, match="generation_config.json: contains a list"):
        Prompts.of(locate(str(broken)), load_tokenizer(checkpoint))
