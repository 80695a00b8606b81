"""The outputs of a CTC head as text: what the tokenizer's files say, against heads of the right and the wrong size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.audio import write_folder
from support.models import LETTERS, make_hubert
from support.runs import data_words, jobs, once, pair_words, predictions
from transformers import AutoTokenizer, HubertForCTC

from mam.errors import CheckpointError
from mam.evaluation.model_pair import checked_parents
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.vocabulary import Vocabulary
from mam.runs.inspection import inspect

MARKS = ["<pad>", "<s>", "</s>", "<unk>"]
ABC = "abcdefghijklmnopqrstuvwxyz"
PLAIN = {"tokenizer_class": "Wav2Vec2CTCTokenizer"}


def write(folder: Path, tokens, settings=None, size: int | None = None, pad: int = 0, **others) -> Path:
    """The files that a vocabulary is read from. ``tokens`` as a list are numbered; ``others`` are further files."""
    folder.mkdir(exist_ok=True)
    numbered = {token: i for i, token in enumerate(tokens)} if isinstance(tokens, list) else tokens
    config = {"model_type": "wav2vec2", "vocab_size": len(numbered) if size is None else size, "pad_token_id": pad}
    files = {"config": config, "vocab": numbered, "tokenizer_config": settings, **others}
    for name, content in files.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def read(folder: Path) -> Vocabulary:
    return Vocabulary.of(locate(str(folder)))


def heard(vocabulary: Vocabulary, tokens: list[str], spoken: list[str]) -> str:
    """The text of ``spoken`` tokens, each for two frames, as a head would say it."""
    return vocabulary.text([i for token in spoken for i in [tokens.index(token)] * 2])


@pytest.mark.parametrize("delimiter", [" ", "_", "<space>", "▁", "/", "|"])
def test_the_delimiter_is_the_one_that_the_files_name(tmp_path, delimiter):
    tokens = [*MARKS, delimiter, *ABC]
    vocabulary = read(write(tmp_path / "v", tokens, PLAIN | {"word_delimiter_token": delimiter}))
    assert heard(vocabulary, tokens, ["o", "n", delimiter, "t", "o", "<pad>", "o", "<s>", delimiter]) == "on too"
    assert (vocabulary.word, vocabulary.delimiter) == (delimiter, 4)
    assert [tokens[i] for i in vocabulary.spell(" On  to ", str)[0]] == ["o", "n", delimiter, "t", "o"]
    said = f"words are separated by {delimiter!r}, as the tokenizer's files say"
    assert vocabulary.notes == (() if delimiter == "|" else (said,))


def test_a_delimiter_is_read_wherever_it_is_named_and_however_it_is_written(tmp_path):
    tokens = [*MARKS, "_", *ABC]
    written = {"content": "_", "lstrip": False, "rstrip": False, "normalized": True, "single_word": False}
    for n, place in enumerate(("tokenizer_config", "special_tokens_map")):
        others = {place: {"word_delimiter_token": written, "__type": "AddedToken"}}
        settings = others.pop("tokenizer_config", None)
        assert read(write(tmp_path / str(n), tokens, settings, **others)).word == "_"
    two = {"special_tokens_map": {"word_delimiter_token": "|"}}
    folder = write(tmp_path / "two", [*MARKS, "_", "|", *ABC], {"word_delimiter_token": "_"}, **two)
    with pytest.raises(CheckpointError, match=r"is '_' in tokenizer_config.json but '\|' in special_tokens_map.json"):
        read(folder)


def test_a_blank_among_the_letters_separates_words_unnamed(tmp_path):
    tokens = [*MARKS, " ", *ABC]
    assert heard(read(write(tmp_path / "v", tokens)), tokens, ["a", " ", "b"]) == "a b"


def as_saved_by_transformers(number: int, token: str) -> dict:
    """transformers 5 lists a delimiter among the added tokens, as a special one."""
    return {"added_tokens_decoder": {str(number): {"content": token, "special": True}}, "word_delimiter_token": token}


def test_a_delimiter_that_transformers_calls_special_is_still_one(tmp_path):
    tokens = [*MARKS, "_", *ABC]
    vocabulary = read(write(tmp_path / "v", tokens, as_saved_by_transformers(4, "_")))
    assert heard(vocabulary, tokens, ["a", "_", "b"]) == "a b"


@pytest.mark.parametrize(
    ("tokens", "settings", "size", "message"),
    [
        ([*MARKS, *ABC], PLAIN, None, "its vocabulary has no word delimiter, so words would run together"),
        (
            [*MARKS, *ABC],
            {"word_delimiter_token": "|"},
            None,
            "its vocabulary has no word delimiter, so words would run together",
        ),
        ([*MARKS, *ABC, "|"], {"word_delimiter_token": None}, None, r"would run together. vocab.json has '\|'"),
        ([*MARKS, *ABC, "_", "<space>"], PLAIN, None, "vocab.json has '_', '<space>'. Set"),
        ([*MARKS, *ABC], {"word_delimiter_token": "_"}, None, "delimiter '_' is not in vocab.json"),
        ([*MARKS, *ABC], {"word_delimiter_token": "None"}, None, "delimiter 'None' is not in vocab.json"),
        (
            [*MARKS, *ABC, "_"],
            {"word_delimiter_token": "_"},
            30,
            "delimiter '_' is output 30, but the head has only 30",
        ),
        ([*MARKS, *ABC], as_saved_by_transformers(30, "_"), 30, "delimiter '_' is output 30, but the head has only 30"),
        ([*MARKS[:3], "|", *ABC], {"unk_token": "|"}, None, r"delimiter '\|' is also the unknown token \(output 3\)"),
        ([*MARKS, *ABC], {"word_delimiter_token": "<pad>"}, None, r"'<pad>' is also the blank \(output 0\)"),
        ([*MARKS, "|", *ABC], PLAIN, 40, "9 of its 40 outputs have no token in vocab.json"),
        ([*MARKS, "|", *ABC], PLAIN, 20, "11 tokens of vocab.json lie beyond its 20 outputs .'p', 'q', 'r',"),
        ([*MARKS, "|", "▁the", "▁a", "s"], PLAIN, None, r"has subwords \('▁the', '▁a'\)"),
        ([*MARKS, "|", "##ing", "s"], PLAIN, None, r"has subwords \('##ing'\)"),
        (["<blank>", *MARKS, "|", *ABC], PLAIN, None, "vocab.json has both '<blank>' and the pad token '<pad>'"),
        ([*MARKS, "|", *ABC], {"pad_token": "[PAD]"}, None, "the blank is 0 in config.json .* but 31 in the"),
        ([*MARKS, "|", *ABC], {"pad_token": None}, None, "blank is 0 in config.json .* but None in the tokenizer"),
        ([*MARKS, "|", *ABC], {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}, None, "outputs phonemes"),
        ([*MARKS, "|", *ABC], {"tokenizer_class": "BertTokenizerFast"}, None, "its tokenizer is a BertTokenizer"),
        ({"a": 0, "|": 0}, PLAIN, None, r"vocab.json: 'a' and '\|' have the same index, 0"),
        ({"a": "0"}, PLAIN, None, "vocab.json: must map tokens to output indices, but has 'a': '0'"),
        ({}, PLAIN, None, "vocab.json: must map tokens to output indices, but has nothing"),
        ({"eng": {"a": 0}, "fra": {"b": 0}}, PLAIN, None, "has vocabularies for 2 languages, .* is None. .*: eng, fra"),
        ({"eng": {"a": 0}}, {"target_lang": "deu"}, None, "has vocabularies for 1 languages, .* is 'deu'"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(tmp_path, tokens, settings, size, message):
    folder = write(tmp_path / "v", tokens, settings, size)
    with pytest.raises(CheckpointError, match=message):
        read(folder)


def test_a_blank_that_is_another_than_the_pad_token_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"the blank is 3 in config.json \(pad_token_id\) but 0 in the tokenizer"):
        read(write(tmp_path / "v", [*MARKS, "|", *ABC], PLAIN, pad=3))
    lost = write(tmp_path / "w", ["<s>", "</s>", "<unk>", "|", *ABC], PLAIN, 30, pad=30)
    with pytest.raises(CheckpointError, match="the blank '<pad>' is output 30, but the head has only 30"):
        read(lost)


@pytest.mark.parametrize("script", ["你好我是中文字", "こんにちはカタカナ", "กขคงจฉชซ", "ຂ້າພະເຈົ້າ"])
def test_a_script_without_blanks_needs_no_delimiter(tmp_path, script):
    tokens = [*MARKS, *dict.fromkeys(script), "-"]
    letters = tokens[4:-1]
    vocabulary = read(write(tmp_path / "v", tokens, {"word_delimiter_token": "|"}))
    assert heard(vocabulary, tokens, letters) == "".join(letters)
    assert vocabulary.spell(" ".join(letters), str) == ([*range(4, len(tokens) - 1)], [])
    assert (
        "its vocabulary has no word delimiter, and its script is written without spaces: transcripts have no spaces"
        in vocabulary.notes[0]
    )


def test_korean_is_written_with_blanks(tmp_path):
    with pytest.raises(CheckpointError, match="its vocabulary has no word delimiter, so words would run together"):
        read(write(tmp_path / "v", [*MARKS, *"가나다라마바사"], PLAIN))


def test_marks_are_known_by_any_name_and_letters_are_letters(tmp_path):
    """As fine-tuned by the usual recipe: [UNK] and [PAD] at the end, <s> and </s> added beyond the head."""
    tokens = [*ABC, "|", "[UNK]", "[PAD]"]
    settings = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    added = {"<s>": 29, "</s>": 30}
    vocabulary = read(write(tmp_path / "v", tokens, settings, 29, pad=28, added_tokens=added))
    assert heard(vocabulary, tokens, ["n", "[UNK]", "o", "|", "[PAD]", "a"]) == "no a"
    whole = read(write(tmp_path / "w", tokens, settings, 31, pad=28))  # a head for them, and no file that lists them
    assert whole.letters[26:] == (" ", "", "", "", "") and whole.blank == 28


def test_an_unknown_token_that_is_a_letter_is_written(tmp_path):
    tokens = ["<pad>", "|", *ABC, "'"]
    vocabulary = read(write(tmp_path / "v", tokens, {"unk_token": "'"}))
    assert heard(vocabulary, tokens, ["i", "t", "'", "s"]) == "it's"


def test_letters_of_several_characters(tmp_path):
    tokens = [*MARKS, "|", "c", "h", "ch", "s", "a"]
    vocabulary = read(write(tmp_path / "v", tokens, PLAIN))
    assert heard(vocabulary, tokens, ["ch", "a", "|", "c"]) == "cha c"
    assert [tokens[i] for i in vocabulary.spell("chas hc", str)[0]] == ["ch", "a", "s", "|", "h", "c"]


def test_lower_case_and_forms_of_unicode(tmp_path):
    upper = read(write(tmp_path / "v", [*MARKS, "|", *ABC.upper()], {"do_lower_case": True}))
    assert upper.text([5, 0, 6]) == "ab" and upper.spell("ab", str) == ([5, 6], [])
    both = read(write(tmp_path / "w", [*MARKS, "|", "a", "A", "\u0301"], PLAIN))
    assert both.spell("Aa\u00e1", str) == ([6, 5, 5, 7], [])  # á as two characters, cases as they are


def test_one_of_many_languages(tmp_path):
    tokens = {"eng": {"<pad>": 0, "|": 1, "a": 2}, "fra": {"<pad>": 0, "|": 1, "é": 2}}
    vocabulary = read(write(tmp_path / "v", tokens, {"target_lang": "fra"}, 3))
    assert vocabulary.text([2, 1, 2]) == "é é" and vocabulary.language == "fra"
    assert vocabulary.notes == ("uses the vocabulary for target_lang=fra",)


@pytest.mark.parametrize("norm", ["group"])
def test_the_usual_vocabulary_is_read_as_transformers_reads_it(tmp_path, norm):
    folder = make_hubert(tmp_path / "h", norm)
    theirs, ours = AutoTokenizer.from_pretrained(folder), read(folder)
    words = "WE MET AT SEVEN"
    spelled = ours.spell(words, str)[0]
    assert spelled == theirs(words).input_ids
    kept = [i for i in spelled for _ in range(2)]
    assert ours.text(kept) == theirs.decode(kept).replace("<s>", "") and ours.blank == theirs.pad_token_id


def with_delimiter(folder: Path, delimiter: str) -> Path:
    """A tiny HuBERT whose output 4 is called ``delimiter``: the same model as with ``|``."""
    make_hubert(folder)
    tokens = {delimiter if token == "|" else token: i for i, token in enumerate(LETTERS)}
    (folder / "vocab.json").write_text(json.dumps(tokens))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("added_tokens_decoder", None)
    settings["word_delimiter_token"] = delimiter
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tensors = HubertForCTC.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        frequent, between = LETTERS.index("N"), 4
        for rows in (tensors.lm_head.weight, tensors.lm_head.bias):  # so that words are written
            rows[[between, frequent]] = rows[[frequent, between]]
    tensors.save_pretrained(folder)
    return folder


def test_a_run_writes_the_same_words_whatever_the_delimiter_is_called(tmp_path, bert):
    clips = write_folder(tmp_path / "clips", [0.6, 0.9])
    texts = []
    for name in ("|", "_"):
        words = [*pair_words(with_delimiter(tmp_path / f"h{ord(name)}", name), bert), *data_words(clips), "lam=0.1"]
        outcome = once(words)
        texts.append(predictions(outcome))
        notes = outcome.result.merge.notes
        assert any("words are separated by '_', as the tokenizer's files say" in note for note in notes) == (
            name == "_"
        )
    assert texts[0] == texts[1] and any(" " in text for text in texts[0])


def test_the_delimiter_is_said_without_a_run_and_kept_when_saved(tmp_path, bert):
    folder = with_delimiter(tmp_path / "h", "_")
    config = jobs(pair_words(folder, bert))[0].config
    warnings = inspect(config, checked_parents(config)).warnings
    assert any("words are separated by '_', as the tokenizer's files say" in warning for warning in warnings)
    target = load_target(locate(str(folder)))
    target.save(tmp_path / "saved")
    assert read(tmp_path / "saved") == target.vocabulary


def test_ctc_targets_stay_within_the_head(tmp_path):
    """Letters that the head lacks are said, never taught: CTC would read beyond its outputs."""
    vocabulary = read(write(tmp_path / "v", [*MARKS, "|", *ABC], PLAIN))
    ids, lacking = vocabulary.spell("añb|", str)
    assert max(ids) < len(vocabulary.letters) and lacking == ["ñ", "|"]


def test_a_wavlm_without_a_tokenizer_class_is_read(tmp_path):
    """transformers knows no tokenizer for WavLM by its model_type; the letters are there all the same."""
    tokens = [*MARKS, "|", *ABC]
    folder = write(tmp_path / "v", tokens, {"word_delimiter_token": "|"})
    (folder / "config.json").write_text(json.dumps({"model_type": "wavlm", "vocab_size": 31, "pad_token_id": 0}))
    assert heard(read(folder), tokens, ["h", "i", "|", "a"]) == "hi a"


@pytest.mark.parametrize("place", ["tokenizer_config", "preprocessor_config", "folder"])
def test_a_language_model_that_is_not_used_is_said(tmp_path, bert, place):
    folder = make_hubert(tmp_path / "h")
    if place == "folder":
        (folder / "language_model").mkdir()
    else:
        path = folder / f"{place}.json"
        settings = json.loads(path.read_text()) if path.exists() else {}
        settings |= {"processor_class": "Wav2Vec2ProcessorWithLM"}
        if place == "preprocessor_config":
            settings |= json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
        path.write_text(json.dumps(settings))
    said = "the checkpoint's language model (Wav2Vec2ProcessorWithLM) is not used: mam decodes greedily"
    config = jobs(pair_words(folder, bert))[0].config
    assert said in inspect(config, checked_parents(config)).warnings
    assert said in load_target(locate(str(folder))).remarks
    assert said not in load_target(locate(str(folder)), "features").remarks
