import contextlib
import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from support.audio import noise, write_folder

from mam.config.data import DataConfig
from mam.data import audio
from mam.data.audio import read
from mam.data.corpus import open_corpus
from mam.data.store import AudioStore
from mam.errors import DataError

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)).astype(np.float32)


def write(path: Path, samples=TONE, rate=16000, **options) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_formats(tmp_path, name):
    samples = read(write(tmp_path / name), 16000, name)
    assert samples.dtype == np.float32 and samples.shape == (32000,)
    tolerance = 0.1 if name.endswith("ogg") else 1 / 32768
    assert np.abs(samples - TONE).max() <= tolerance


def test_bytes_are_read_like_a_file(tmp_path):
    path = write(tmp_path / "a.wav")
    np.testing.assert_array_equal(read(path.read_bytes(), 16000, "a"), read(path, 16000, "a"))


def test_stereo_is_mixed(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([TONE, -0.5 * TONE], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(read(path, 16000, "a"), 0.25 * TONE, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone(tmp_path, rate):
    native = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    samples = read(write(tmp_path / "a.wav", native, rate, subtype="FLOAT"), 16000, "a")
    assert abs(len(samples) - 32000) <= 1 and samples.dtype == np.float32
    assert np.abs(samples[500:31000] - TONE[500:31000]).max() < 2e-3


def cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none.wav", "there is no such file"),
        (lambda p: (p / "e.wav").touch() or p / "e.wav", r"empty \(0 bytes\)"),
        (lambda p: write(p / "z.wav", np.zeros(16000, np.float32)), "all samples are zero"),
        (lambda p: write(p / "n.wav", np.array([0.1] * 999 + [np.nan]), subtype="FLOAT"), "NaN or infinite"),
        (lambda p: write(p / "i.wav", np.array([0.1] * 999 + [np.inf]), subtype="FLOAT"), "NaN or infinite"),
        (lambda p: write(p / "s.wav", TONE[:160]), r"only 0.010 s long"),
        (lambda p: write(p / "h.wav", TONE[:0]), r"only 0.000 s long"),
        (lambda p: cut(write(p / "t.wav")), "is truncated: it has 31978 of 64000 bytes of samples"),
        (lambda p: cut(write(p / "t.flac", noise(2, 1))), "damaged or truncated"),
        (lambda p: cut(write(p / "t.ogg", noise(2, 1))), "is truncated: the Ogg stream has no end"),
        (lambda p: (p / "m.wav").write_text("# a README") and p / "m.wav", "not readable as audio"),
    ],
)
def test_unusable_recordings_are_named(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(DataError, match=f"^{path.name}: .*{message}"):
        read(path, 16000, path.name)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["VORBIS", "OPUS"])
def test_ogg_cut_anywhere_is_noticed(tmp_path, kind, share):
    path = write(tmp_path / "t.ogg", noise(6, 1), format="OGG", subtype=kind)
    assert len(read(path, 16000, "t")) > 90_000
    content = path.read_bytes()
    for cut_content in (content[: int(len(content) * share)], content[:-1]):
        path.write_bytes(cut_content)
        with pytest.raises(DataError, match=r"^t: "):
            read(path, 16000, "t")


def test_formats_whose_end_cannot_be_seen_are_refused(tmp_path):
    with pytest.raises(DataError, match="mam cannot check whether AIFF files are complete"):
        read(write(tmp_path / "a.aiff"), 16000, "a")


def test_streamed_wav_without_a_length_is_read(tmp_path):
    """Encoders that write to a pipe leave the size open; such files are whole."""
    path = write(tmp_path / "a.wav", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read(path, 16000, "a")) == 32000


def test_bytes_that_are_not_audio():
    with pytest.raises(DataError, match="^x: not readable as audio"):
        read(io.BytesIO(b"text").getvalue(), 16000, "x")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_ends_before_its_header_says_is_refused(tmp_path, share):
    """libsndfile reads what is there of an MP3 and says nothing."""
    path = cut(write(tmp_path / "half.mp3"), share)
    with pytest.raises(DataError, match=r"^half: is truncated: it has \d+ of 32000 frames"):
        read(path, 16000, "half")


def test_a_file_that_ends_early_is_left_out_on_request_and_named(tmp_path):
    root = write_folder(tmp_path / "clips", [0.5, 0.6, 0.7])
    cut(write(root / "clip1.mp3", noise(2, 1)))
    table = (root / "metadata.csv").read_text()
    (root / "metadata.csv").write_text(table.replace("clip1.wav", "clip1.mp3"))
    (root / "clip1.wav").unlink()
    corpus = open_corpus(DataConfig(name="x", format="audiofolder", root=str(root), split="all"))
    with pytest.raises(DataError, match="clip1.mp3: is truncated: it has"):
        AudioStore.checked(corpus, 16000, 10**9, "stop")
    kept = AudioStore.checked(corpus, 16000, 10**9, "skip")
    assert kept.corpus.column("id") == ["clip0", "clip2"] and kept.samples == [8000, 11200]
    ((position, reason),) = kept.bad
    assert position == 1 and "truncated" in reason


def flac_that_claims(frames: int, path: Path) -> Path:
    """A whole FLAC file whose STREAMINFO states another number of frames (36 bits, RFC 9639, section 8.2)."""
    content = bytearray(write(path).read_bytes())
    content[21] = (content[21] & 0xF0) | (frames >> 32)
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("frames", [2**36 - 1, 2**30, 32001])
def test_claimed_frames_are_not_believed(tmp_path, frames):
    path = flac_that_claims(frames, tmp_path / "a.flac")
    with pytest.raises(DataError, match="a: damaged or truncated"):
        read(path, 16000, "a")


def test_a_flac_that_states_no_length_is_refused(tmp_path):
    with pytest.raises(DataError, match="its header does not give its length"):
        read(flac_that_claims(0, tmp_path / "a.flac"), 16000, "a")


@pytest.mark.parametrize("rate", [8000, 44100])
def test_blocks_give_what_one_piece_gives(tmp_path, monkeypatch, rate):
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * rate + 7, 2)).astype(np.float32)
    path = write(tmp_path / "a.wav", stereo, rate, subtype="FLOAT")
    expected = soxr.resample(stereo.mean(axis=1, dtype=np.float32), rate, 16000)
    for block in (1000, 4097, 2**20):
        monkeypatch.setattr(audio, "BLOCK", block)
        np.testing.assert_array_equal(read(path, 16000, "a"), expected)


def test_a_long_recording_is_decoded_in_bounded_memory(tmp_path, monkeypatch):
    """Two minutes of eight channels at 48 kHz are 184 MB where decoded at once, and 8 MB of mono at 16 kHz."""
    minute = np.tile(TONE[:16000, None], (3 * 60, 8))  # [frames of a minute, channels]
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 48000, 8, "PCM_16") as file:
        for _ in range(2):
            file.write(minute)
    tracemalloc.start()
    samples = read(tmp_path / "a.flac", 16000, "a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == 120 * 16000
    assert peak < 6 * samples.nbytes
    monkeypatch.setattr(audio, "MAX_SECONDS", 60)
    with pytest.raises(DataError, match="Cut it into pieces"):
        read(tmp_path / "a.flac", 16000, "a")


@pytest.mark.parametrize("rate", [1, 999, 768_001])
def test_odd_sample_rates_are_refused(tmp_path, rate):
    with pytest.raises(DataError, match=f"{rate} Hz. mam supports 1000 to 768000 Hz"):
        read(write(tmp_path / "a.wav", rate=rate), 16000, "a")


def test_mpg123_writes_nothing(tmp_path, capfd):
    path = write(tmp_path / "a.mp3", TONE[:16000])
    content = bytearray(path.read_bytes())
    content[400:900] = bytes(range(250)) * 2
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read(path, 16000, "a")
    os.write(2, b"still there")
    assert capfd.readouterr() == ("", "still there")
