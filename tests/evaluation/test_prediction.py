"""Packs, prefix, predictions: the same whatever is cached, and nothing computed twice."""

import threading

import pytest
import torch
from support.audio import write_folder
from support.models import LAYERS

from mam.cache import Cache
from mam.config.data import DataConfig
from mam.data.corpus import open_corpus
from mam.data.store import AudioStore
from mam.evaluation.predict import packs_of, predict
from mam.evaluation.prefix import Prefix, Shelf
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.targets import BUCKET


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


def test_whisper_takes_long_recordings_alone_and_counts_thirty_seconds(long_whisper):
    target = load_target(locate(str(long_whisper)))
    samples = [16000, 31 * 16000, 16000 * 5, 16000 * 40, 16000 * 2]
    assert packs_of(target, samples, 60.0) == [(0, 2), (4,), (1,), (3,)]


def shelf(cache, is_shared):
    return Shelf(cache, {"what": "test"}, is_shared)


@pytest.mark.parametrize("first", [0, 2])
def test_what_memory_has_no_room_for_lies_on_the_shelf(target, audio, tmp_path, first):
    """Computed once, though nothing fits into memory, and found by the next process; the same bytes as without."""
    cache = Cache(tmp_path / "cache", 10**9, pytest.fail)
    packs = packs_of(target, audio.samples, 3.0)
    plain = [predict(target, Prefix(target, audio, 10**9), packs, audio.samples, first) for _ in range(2)]
    poor = Prefix(target, audio, 0, shelf=shelf(cache, False))
    texts = [predict(target, poor, packs, audio.samples, first) for _ in range(3)]
    assert poor.computed == len(packs) and poor.found == 2 * len(packs)
    another = Prefix(target, audio, 0, shelf=shelf(cache, False))
    texts.append(predict(target, another, packs, audio.samples, first))
    assert another.computed == 0 and another.found == len(packs)
    assert all(one == plain[0] for one in (*texts, plain[1]))
    rich = Prefix(target, audio, 10**9, shelf=shelf(Cache(tmp_path / "rich", 10**9), False))
    predict(target, rich, packs, audio.samples, first)
    assert not (tmp_path / "rich").exists(), "what fits into memory is not written"


def test_states_that_are_shared_serve_higher_layers_too(target, audio, tmp_path):
    cache, packs = Cache(tmp_path / "cache", 10**9, pytest.fail), packs_of(target, audio.samples, 3.0)
    low = Prefix(target, audio, 10**9, shelf=shelf(cache, True))
    predict(target, low, packs, audio.samples, 1)
    assert low.computed == len(packs)
    high = Prefix(target, audio, 10**9, shelf=shelf(cache, True))
    texts = predict(target, high, packs, audio.samples, 2)
    assert high.computed == 0 and texts == predict(target, Prefix(target, audio, 0), packs, audio.samples, 2)


def test_a_damaged_state_is_computed_again(target, audio, tmp_path):
    cache, packs = Cache(tmp_path / "cache", 10**9, pytest.fail), packs_of(target, audio.samples, 3.0)
    expected = predict(target, Prefix(target, audio, 0, shelf=shelf(cache, True)), packs, audio.samples, 0)
    entries = sorted(tmp_path.rglob("*.safetensors"))
    entries[0].write_bytes(entries[0].read_bytes()[:-7])
    again = Prefix(target, audio, 0, shelf=shelf(cache, True))
    assert predict(target, again, packs, audio.samples, 0) == expected
    assert again.computed == 1 and again.found == len(packs) - 1


def test_the_next_pack_is_decoded_while_one_is_computed(target, tmp_path, monkeypatch):
    poor = store(tmp_path / "clips", [0.6, 1.3, 0.9, 1.3, 0.4])
    poor._kept.clear()
    packs, threads = packs_of(target, poor.samples, 1.4), []
    read = AudioStore.waves
    monkeypatch.setattr(
        AudioStore, "waves", lambda self, pack: threads.append(threading.current_thread().name) or read(self, pack)
    )
    texts = predict(target, Prefix(target, poor, 0), packs, poor.samples, 0)
    assert len(packs) > 2 and threads[0] == "MainThread"
    assert len(threads) == len(packs) and all(name.startswith("ThreadPool") for name in threads[1:])
    assert texts == predict(target, Prefix(target, poor, 0), packs, poor.samples, 0)


def test_some_clips_are_predicted_as_all_are(target, audio):
    whole = predict(target, Prefix(target, audio, 0), packs_of(target, audio.samples, 3.0), audio.samples, 0)
    some = packs_of(target, audio.samples, 3.0, [4, 1, 2])
    assert predict(target, Prefix(target, audio, 0), some, audio.samples, 0) == [whole[i] for i in (1, 2, 4)]


def test_packs_suit_the_target_and_its_device(target, long_whisper):
    lengths = [16000 * 4] * 6
    assert [len(pack) for pack in packs_of(target, lengths, None)] == [2, 2, 2]  # 10 s on a CPU
    assert [len(pack) for pack in packs_of(load_target(locate(str(long_whisper))), [*lengths, *lengths], None)] == [
        8,
        4,
    ]  # 30 s each


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_pack_that_does_not_fit_is_halved_once_and_for_all(target, audio, caplog, error):
    """Three clips at once are too much here; the halves of five are two and three, of three one and two."""
    packs, advance, asked = [(0, 1, 2, 3, 4)], target.advance, []
    whole = predict(target, Prefix(target, audio, 0), packs, audio.samples, 0)

    def small(hidden, start, stop):
        if stop > start:
            asked.append(len(hidden.states))
            if asked[-1] > 2:
                raise error
        return advance(hidden, start, stop)

    target.advance, prefix = small, Prefix(target, audio, 10**9)
    assert predict(target, prefix, packs, audio.samples, 0) == whole
    assert (
        asked == [5, 2, 3, 1, 2]
        and "does not have enough memory for 5 clips at a time; the batch is halved" in caplog.text
    )
    asked.clear()
    assert predict(target, prefix, packs, audio.samples, 0) == whole and asked == [2, 1, 2]


def test_one_clip_that_does_not_fit_is_an_error(target, audio):
    def none(hidden, start, stop):
        raise torch.OutOfMemoryError

    target.advance = none
    with pytest.raises(torch.OutOfMemoryError):
        predict(target, Prefix(target, audio, 0), [(0, 1)], audio.samples, 0)


def test_compiled_layers_see_few_shapes_and_say_the_same(hubert_layer, audio):
    plain, compiled = (load_target(locate(str(hubert_layer))) for _ in range(2))
    for layer in compiled.encoder.layers:
        layer.compile(backend="eager")  # inductor needs a minute; what it is given is the same
    compiled.is_compiled = True
    seen = set()
    compiled.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].shape[1]))
    packs = packs_of(plain, audio.samples, 1.4)
    texts = [predict(one, Prefix(one, audio, 0), packs, audio.samples, 0) for one in (plain, compiled)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1
    assert seen and all(frames % BUCKET == 0 for frames in seen)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_compiled_for_real(hubert_layer, audio):
    plain, compiled = (load_target(locate(str(hubert_layer))) for _ in range(2))
    compiled.compile()
    packs = packs_of(plain, audio.samples, 3.0)
    assert predict(compiled, Prefix(compiled, audio, 0), packs, audio.samples, 0) == predict(
        plain, Prefix(plain, audio, 0), packs, audio.samples, 0
    )
