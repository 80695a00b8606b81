"""One prompt for teaching, for entropy and for decoding, equal to what transformers makes of language and task."""

from __future__ import annotations

import json

import pytest
import torch
from support.audio import noise
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from mam.errors import CheckpointError
from mam.models.families import load_target
from mam.models.locate import locate
from mam.scoring.text import NORMALIZERS

TEXTS = ["Hello there", "uno"]
WAVES = [noise(0.6, 1), noise(1.3, 2), noise(0.9, 3)]


def hidden_of(target, waves):
    with torch.no_grad():
        return target.advance(target.front(waves), 0, target.depth)


def taught_by_transformers(folder, language: str | None, task: str | None, wave, texts: list[str]):
    """Labels and losses by transformers' recipe for fine-tuning: the tokenizer's prefix, the start token cut off."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.set_prefix_tokens(language=language, task=task, predict_timestamps=False)
    plain = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    labels = [tokenizer(text).input_ids for text in texts]
    assert all(one[0] == plain.config.decoder_start_token_id for one in labels)
    losses = []
    for one in labels:
        with torch.no_grad():
            losses.append(plain(wave, labels=torch.tensor([one[1:]])).loss.item())  # shifts right by itself
    return [one[1:] for one in labels], losses


@pytest.mark.parametrize("language", ["it", "en", "haw"])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_teaching_is_transformers_recipe(polyglot, language, task):
    target = load_target(locate(str(polyglot)))
    target.instruct(language, task)
    features = target.extractor(WAVES[0], sampling_rate=16000, return_tensors="pt").input_features
    labels, losses = taught_by_transformers(polyglot, language, task, features, TEXTS)
    tokens = [target.spell(text, NORMALIZERS["none"])[0] for text in TEXTS]
    assert tokens == labels and tokens[0][:2] == target.prompt[1:3]
    hidden = hidden_of(target, [WAVES[0]] * 2)
    assert target.losses(hidden, tokens, 0.0).tolist() == pytest.approx(losses, rel=1e-4)


def test_teaching_an_english_only_one_is_transformers_recipe(whisper):
    target = load_target(locate(str(whisper)))
    features = target.extractor(WAVES[0], sampling_rate=16000, return_tensors="pt").input_features
    labels, losses = taught_by_transformers(whisper, None, None, features, TEXTS)
    tokens = [target.spell(text, NORMALIZERS["none"])[0] for text in TEXTS]
    assert tokens == labels
    assert target.losses(hidden_of(target, [WAVES[0]] * 2), tokens, 0.0).tolist() == pytest.approx(losses, rel=1e-4)


def generated(folder, waves, **told: str) -> list[list[int]]:
    """What transformers' own `generate` writes, clip by clip, without the prompt."""
    plain = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    target = load_target(locate(str(folder)))
    made = []
    for wave in waves:
        options = {"truncation": False, "padding": "longest"} if len(wave) > 480_000 else {}
        features = target.extractor(wave, sampling_rate=16000, return_tensors="pt", **options).input_features
        with torch.no_grad():
            made.append(plain.generate(features, do_sample=False, num_beams=1, **told)[0].tolist())
    return made


def written(target, waves) -> list[list[int]]:
    with torch.no_grad():
        return [target._written(hidden_of(target, [wave]))[0].tolist() for wave in waves]


@pytest.mark.parametrize(("language", "task"), [("it", "transcribe"), ("haw", "translate"), ("en", "transcribe")])
def test_decoding_is_transformers_generate(polyglot, language, task):
    target = load_target(locate(str(polyglot)))
    target.instruct(language, task)
    theirs = generated(polyglot, WAVES, language=language, task=task)
    ours, end = written(target, WAVES), target.prompts.tokens["<|endoftext|>"]
    for mine, plain in zip(ours, theirs, strict=True):
        assert mine[:4] == target.prompt
        assert [i for i in mine[4:] if i != end] == [i for i in plain if i != end] != []


@pytest.mark.parametrize(("language", "task"), [("it", "transcribe"), ("haw", "translate")])
def test_decoding_of_long_recordings_is_transformers_generate(edited, language, task):
    """Window by window, with timestamps, which such recordings are decoded with."""
    folder, wave = edited(suppress_tokens=None), noise(31.0, 5)
    target = load_target(locate(str(folder)))
    target.instruct(language, task)
    (ours,) = written(target, [wave])
    assert [ours] == generated(folder, [wave], language=language, task=task) and len(ours) > 5


def test_the_prompt_matters(polyglot):
    texts = set()
    for language in ("it", "de", "ja"):
        target = load_target(locate(str(polyglot)))
        target.instruct(language, "transcribe")
        texts.add(tuple(target.transcribe(hidden_of(target, WAVES))))
    assert len(texts) > 1


@pytest.mark.parametrize(
    "entries",
    [
        {"_from_model_config": True, "lang_to_id": None, "task_to_id": None, "is_multilingual": None},
        {"lang_to_id": None},  # is_multilingual stays true
        {"no_timestamps_token_id": None, "eos_token_id": None, "pad_token_id": None},
        {"forced_decoder_ids": [[1, 98], [2, 197]]},
        {"return_timestamps": True, "task": "translate", "language": "de"},
        {"return_dict_in_generate": True, "output_scores": True},
        {"max_new_tokens": 64, "max_length": None},
        {"num_return_sequences": 2, "num_beams": 2},
    ],
)
def test_other_settings_decode_alike(polyglot, edited, entries):
    """Prompt and text do not hang on what generation_config.json forgets or adds."""
    whole, other = load_target(locate(str(polyglot))), load_target(locate(str(edited(**entries))))
    for target in (whole, other):
        target.instruct("it", "transcribe")
    first, second = ([one[:20] for one in written(target, WAVES)] for target in (whole, other))
    assert second == first


def test_without_generation_config_a_text_may_be_as_long_as_the_decoder_allows(polyglot, edited):
    """transformers would stop after 20 tokens."""
    target = load_target(locate(str(edited(exists=False))))
    target.instruct("it", "transcribe")
    assert max(map(len, written(target, WAVES))) == 64
    assert target.prompt == written(target, WAVES)[0][:4]


def test_a_multilingual_one_never_decodes_untold(polyglot):
    target = load_target(locate(str(polyglot)))
    with pytest.raises(TypeError, match="a multilingual Whisper needs a language first: call instruct"):
        target.transcribe(hidden_of(target, WAVES))


def test_a_saved_checkpoint_says_what_it_was_told(polyglot, tmp_path):
    """Decoded by plain transformers without a word, it writes the same."""
    target = load_target(locate(str(polyglot)))
    target.instruct("it", "transcribe")
    target.save(tmp_path / "saved")
    settings = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert (settings["language"], settings["task"]) == ("it", "transcribe")
    assert generated(tmp_path / "saved", WAVES) == generated(polyglot, WAVES, language="it", task="transcribe")
    again = load_target(locate(str(tmp_path / "saved")))
    assert again.prompts.chosen(None) == ("it", "generation_config")


def test_languages_are_told_apart_as_transformers_does(polyglot):
    target = load_target(locate(str(polyglot)))
    plain = WhisperForConditionalGeneration.from_pretrained(polyglot, dtype=torch.float32).eval()
    features = target.extractor(WAVES, sampling_rate=16000, return_tensors="pt").input_features
    theirs = plain.detect_language(input_features=features).tolist()
    with torch.no_grad():
        shares = target.tongues(hidden_of(target, WAVES))
    ids = list(target.prompts.languages.values())
    assert [ids[i] for i in shares.argmax(-1).tolist()] == theirs
    assert shares.shape == (3, 99) and shares.sum(-1).tolist() == pytest.approx([1, 1, 1])


def test_doubts_are_of_the_text_not_of_the_prompt(polyglot):
    """Mean entropy over what is written, by hand from one forward pass of the plain model."""
    target = load_target(locate(str(polyglot)))
    target.instruct("it", "transcribe")
    plain = WhisperForConditionalGeneration.from_pretrained(polyglot, dtype=torch.float32).eval()
    hidden = hidden_of(target, WAVES[:1])
    with torch.no_grad():
        (anchor,) = target.anchors(hidden)
        entropy, _ = target.doubts(hidden, [anchor])
        features = target.extractor(WAVES[0], sampling_rate=16000, return_tensors="pt").input_features
        scores = plain(features, decoder_input_ids=anchor[None, :-1]).logits[0, 3:].softmax(-1)
    assert anchor[:4].tolist() == target.prompt and len(anchor) > 4
    assert entropy.item() == pytest.approx(-(scores * scores.log()).sum(-1).mean().item(), rel=1e-3)


def test_long_recordings_need_timestamps_in_the_vocabulary(polyglot, tmp_path):
    target = load_target(locate(str(polyglot)))
    target.instruct("it", "transcribe")
    target.prompts = type(target.prompts)(
        "small", target.prompts.tokens["<|notimestamps|>"] + 1, target.prompts.tokens, {}
    )
    with pytest.raises(
        CheckpointError, match="its vocabulary has no timestamps, so recordings over 30 s cannot be decoded"
    ):
        written(target, [noise(31.0, 5)])


def real_folders(real, more):
    return [(real / "models" / "whisper-tiny.en", "en"), (more / "whisper-base", "it")]


@pytest.mark.real
@pytest.mark.parametrize("which", [0, 1])
def test_real_checkpoints_are_taught_by_transformers_recipe(real, more, which):
    folder, language = real_folders(real, more)[which]
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    target = load_target(locate(str(folder)))
    target.instruct(language, "transcribe")
    told = (None, None) if language == "en" else (language, "transcribe")
    features = target.extractor(WAVES[0], sampling_rate=16000, return_tensors="pt").input_features
    labels, losses = taught_by_transformers(folder, *told, features, TEXTS)
    tokens = [target.spell(text, NORMALIZERS["none"])[0] for text in TEXTS]
    assert tokens == labels
    assert target.losses(hidden_of(target, [WAVES[0]] * 2), tokens, 0.0).tolist() == pytest.approx(losses, rel=1e-3)


def test_windows_begin_beyond_thirty_seconds(long_whisper):
    """30 s at 16 kHz are 480,000 samples, which one window holds; classes are read without windows."""
    target = load_target(locate(str(long_whisper)))
    assert [target.in_windows(samples) for samples in (1, 479_999, 480_000, 480_001)] == [False, False, False, True]
    assert [target.alone(samples) for samples in (480_000, 480_001)] == [False, True]
    assert not load_target(locate(str(long_whisper)), "features").in_windows(480_001)
