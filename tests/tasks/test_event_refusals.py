"""Sounds that do not serve, and words that mean nothing for them, are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from support.audio import write_sounds
from support.runs import jobs, once

from mam.errors import ConfigError, DataError

BAD = {
    "speech": (
        ["data=demo_speech", "data.clusters=utterance"],
        "has no labels. Use it with models for speech, and e.g. data=demo_sounds for audio events",
    ),
    "no such fold": (["data.fold=7"], "data.fold=7: has no clips"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD.keys())
def test_data_that_does_not_serve(event_words, words, message):
    chosen = [word for word in event_words if not (words[0].startswith("data=") and word.startswith("data"))]
    with pytest.raises(DataError, match=message):
        once([*chosen, *words])


def test_too_few_folds_and_unknown_classes(event_words, tmp_path):
    one = write_sounds(tmp_path / "one", folds=1)
    with pytest.raises(DataError, match="has clips only in fold 1, but the probe must be fitted on other folds"):
        once([*event_words, f"data.root={one}"])
    two = write_sounds(tmp_path / "two", folds=2)
    with pytest.raises(DataError, match="has clips only in fold 1, 2, but the probe must be fitted on other folds"):
        once([*event_words, f"data.root={two}", "data.split=dev"])
    lines = (two / "metadata.csv").read_text().splitlines()
    (two / "metadata.csv").write_text("\n".join(line for line in lines if not line.startswith("1-click")) + "\n")
    with pytest.raises(DataError, match="fold 2: some tested classes do not occur in its 4 training clips: click"):
        once([*event_words, f"data.root={two}"])


def test_labels_are_not_for_speech_recognition(words, sounds):
    with pytest.raises(DataError, match="has labels but no transcripts"):
        once([*words, f"data.root={sounds}"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("head=probe", "head=probe: not known. Choose one of:\n      probe_fixed"),
        ("data.split=all", "data.split=all: the probe needs clips outside the tested split"),
        ("data.split=train", "data.split=train: the probe needs clips outside the tested split"),
        ("data.normalizer=basic", "data.normalizer: has no effect on audio events"),
        ("data.ids.test=x", "data.ids: has no effect on audio events"),
    ],
)
def test_words_without_meaning_are_refused(event_words, word, message):
    with pytest.raises(ConfigError, match=message):
        jobs([*event_words, word])


@pytest.mark.parametrize("word", ["head=checkpoint", "data.fold=1"])
def test_words_of_sounds_mean_nothing_for_speech(word):
    with pytest.raises(ConfigError, match="has no effect on speech recognition"):
        jobs([word])


def test_clips_shorter_than_a_patch_are_named(event_words, sounds):
    import soundfile

    soundfile.write(sounds / "1-hum-0.wav", np.random.default_rng(0).standard_normal(2000) * 0.1, 16000)
    with pytest.raises(DataError, match=r"1-hum-0.wav: is 0.125 s long; this target needs at least 0.175 s"):
        once(event_words)
    result = once([*event_words, "data.on_bad=skip"]).result
    assert result.data.n == 17 and [s.id for s in result.data.skipped] == ["1-hum-0"]
