"""Packs, prefix, predictions: the same whatever is cached, and nothing computed twice."""

import pytest
import torch
from conftest import LAYERS, write_folder

from mam.config import DataConfig
from mam.data.corpus import open_corpus
from mam.data.store import AudioStore
from mam.evaluation.predict import packs_of, predict
from mam.evaluation.prefix import Prefix
from mam.models.checkpoints import locate
from mam.models.targets import load_target


def store(root, seconds):
    corpus = open_corpus(DataConfig(name="x", format="audiofolder", root=str(write_folder(root, seconds)), split="all"))
    return AudioStore.checked(corpus, 16000, 10**9, "stop")


@pytest.fixture
def audio(tmp_path):
    return store(tmp_path / "clips", [0.6, 1.3, 0.9, 1.3, 0.4])


@pytest.fixture
def target(hubert_group):
    return load_target(locate(str(hubert_group)))


@pytest.mark.parametrize("first", range(LAYERS))
def test_kept_or_not_the_states_are_the_same_bytes(target, audio, first):
    packs = packs_of(target, audio.samples, 3.0)
    rich, poor = Prefix(target, audio, 10**9), Prefix(target, audio, 0)
    with torch.inference_mode():
        for members in packs:
            once, again, anew = rich.hidden(members, first), rich.hidden(members, first), poor.hidden(members, first)
            assert once is again and torch.equal(once.states, anew.states)
    assert rich.computed == len(packs)


def test_a_higher_layer_starts_from_a_lower_one(target, audio):
    prefix = Prefix(target, audio, 10**9)
    with torch.inference_mode():
        low, high = prefix.hidden((0, 1), 0), prefix.hidden((0, 1), 2)
        assert torch.equal(high.states, target.advance(low, 0, 2).states)
    assert prefix.computed == 1


def test_the_prefix_runs_once_for_many_predictions(target, audio):
    prefix, packs = Prefix(target, audio, 10**9), packs_of(target, audio.samples, 3.0)
    texts = [predict(target, prefix, packs, audio.samples, 1) for _ in range(3)]
    assert prefix.computed == len(packs) > 1
    assert texts[0] == texts[1] == texts[2]


def test_results_come_in_the_order_of_the_corpus(target, audio):
    alone = []
    for i in range(len(audio.samples)):
        alone += predict(target, Prefix(target, _Only(audio, i), 0), [(0,)], [audio.samples[i]], 0)
    told = []
    together = predict(
        target,
        Prefix(target, audio, 0),
        packs_of(target, audio.samples, 60),
        audio.samples,
        0,
        lambda *a: told.append(a),
    )
    assert together == alone and len(set(alone)) > 1
    assert sum(clips for clips, _ in told) == 5 and sum(s for _, s in told) == pytest.approx(4.5)


class _Only:
    """One clip of a store, as a store."""

    def __init__(self, audio, i):
        self._audio, self._i = audio, i

    def waves(self, _):
        return [self._audio.wave(self._i)]


def test_whisper_takes_long_recordings_alone_and_counts_thirty_seconds(whisper):
    target = load_target(locate(str(whisper)))
    samples = [16000, 31 * 16000, 16000 * 5, 16000 * 40, 16000 * 2]
    assert packs_of(target, samples, 60.0) == [(0, 2), (4,), (1,), (3,)]
