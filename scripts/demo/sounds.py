"""Synthesise demo_sounds: ten classes of sounds under noise, in five folds, laid out as ESC-50 is.

    python scripts/demo/sounds.py --out demo/mam_demo/demo_sounds

An *origin* is one imagined recording: it fixes the pitch, speed and roughness of its class, the microphone and the
noise. Two clips are cut from each, so clips of one origin resemble each other more than others do, and they share a
fold. Runs again from its seed, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE, SAMPLES = 16_000, 20_800  # 1.3 s: 128 frames of the filterbank
FOLDS, ORIGINS, CUTS = 5, 3, "ab"  # origins a class and fold; clips an origin
SNR = (-6.0, 10.0)  # dB; hard on purpose, so that there are errors to gain or to lose
SEED = 20240201
Random = np.random.Generator
Make = Callable[[Random, np.ndarray], np.ndarray]
SOUNDS: dict[str, Make] = {}


def sound(make: Make) -> Make:
    """Register a function (rng, seconds ``[n]``) -> waveform ``[n]`` as the class of its name."""
    SOUNDS[make.__name__] = make
    return make


def coloured(samples: int, slope: float, rng: Random) -> np.ndarray:
    """Noise of unit power whose amplitude falls as frequency^-slope."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    noise = np.fft.irfft(spectrum * np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 30.0) ** -slope, samples)
    return noise / np.sqrt(np.mean(noise**2))


def events(t: np.ndarray, rate: float, jitter: float, rng: Random, one: Callable[[float], np.ndarray]) -> np.ndarray:
    """Short sounds ``one(strength)`` about ``rate`` times a second, the moments shaken by ``jitter`` of a period."""
    made = np.zeros(len(t))
    for moment in np.arange(rng.uniform(0, 1 / rate), t[-1], 1 / rate):
        start = max(0, int((moment + jitter * rng.standard_normal() / rate) * RATE))
        piece = one(rng.uniform(0.6, 1.0))[: max(0, len(t) - start)]
        made[start : start + len(piece)] += piece
    return made


def decay(seconds: float) -> np.ndarray:
    """An exponential that has fallen to 1/e after ``seconds``, cut after five times that."""
    return np.exp(-np.arange(int(5 * seconds * RATE)) / (seconds * RATE))


def ringing(frequency: float, seconds: float) -> np.ndarray:
    """A decaying tone."""
    envelope = decay(seconds)
    return envelope * np.sin(2 * np.pi * frequency * np.arange(len(envelope)) / RATE)


@sound
def rain(rng: Random, t: np.ndarray) -> np.ndarray:
    drops = events(t, rng.uniform(20, 80), 1.0, rng, lambda s: s * ringing(rng.uniform(1500, 6000), 0.004))
    return coloured(len(t), rng.uniform(0.0, 0.4), rng) + rng.uniform(1, 5) * drops


@sound
def wind(rng: Random, t: np.ndarray) -> np.ndarray:
    gusts = 1 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.2, 0.9) * t + rng.uniform(0, 6.28))
    howl = np.sin(2 * np.pi * np.cumsum(rng.uniform(250, 600) * (1 + 0.1 * gusts)) / RATE)
    return gusts * (coloured(len(t), rng.uniform(0.6, 1.1), rng) + rng.uniform(0.0, 0.8) * howl)


@sound
def siren(rng: Random, t: np.ndarray) -> np.ndarray:
    low, high, speed = rng.uniform(400, 700), rng.uniform(900, 1600), rng.uniform(0.4, 3.0)
    phase = (speed * t + rng.uniform()) % 1
    shape = [np.sin(2 * np.pi * phase), np.sign(phase - 0.5), 2 * phase - 1][rng.integers(3)]
    pitch = low + (high - low) * (shape + 1) / 2
    turns = np.cumsum(pitch) / RATE
    return np.sin(2 * np.pi * turns) + rng.uniform(0, 0.5) * np.sin(6 * np.pi * turns)


@sound
def alarm(rng: Random, t: np.ndarray) -> np.ndarray:
    on = (rng.uniform(2, 6) * t + rng.uniform()) % 1 < rng.uniform(0.3, 0.6)
    pitch = rng.uniform(700, 3200)
    return on * np.sign(np.sin(2 * np.pi * pitch * t)) if rng.uniform() < 0.5 else on * np.sin(2 * np.pi * pitch * t)


@sound
def bell(rng: Random, t: np.ndarray) -> np.ndarray:
    base, length = rng.uniform(300, 1400), rng.uniform(0.15, 0.6)
    partials = [1.0, 2.0, 2.4, 3.0, 4.5, 5.3]  # inharmonic, as a bell's are
    weights = rng.uniform(0.2, 1.0, len(partials))

    def stroke(strength: float) -> np.ndarray:
        rings = [w * ringing(min(base * p, 7500), length / p**0.5) for p, w in zip(partials, weights, strict=True)]
        longest = max(map(len, rings))
        return strength * sum(np.pad(ring, (0, longest - len(ring))) for ring in rings)

    return events(t, rng.uniform(0.8, 2.5), 0.05, rng, stroke)


@sound
def clock(rng: Random, t: np.ndarray) -> np.ndarray:
    high, low = rng.uniform(1800, 5000), rng.uniform(900, 1800)
    return events(t, rng.uniform(2, 6), 0.01, rng, lambda s: s * ringing(high if rng.uniform() < 0.5 else low, 0.006))


@sound
def footsteps(rng: Random, t: np.ndarray) -> np.ndarray:
    length, slope = rng.uniform(0.02, 0.06), rng.uniform(0.5, 1.2)

    def step(strength: float) -> np.ndarray:
        envelope = decay(length)
        return strength * envelope * coloured(len(envelope), slope, rng)

    return events(t, rng.uniform(1.5, 4), 0.06, rng, step)


@sound
def engine(rng: Random, t: np.ndarray) -> np.ndarray:
    wander = 1 + 0.05 * np.cumsum(rng.standard_normal(len(t))) / RATE**0.5
    turns = np.cumsum(rng.uniform(35, 120) * wander) / RATE
    tones = sum(rng.uniform(0.3, 1) * np.sin(2 * np.pi * k * turns + rng.uniform(0, 6.28)) / k for k in range(1, 12))
    return tones + rng.uniform(0.1, 0.6) * coloured(len(t), 0.8, rng)


@sound
def cricket(rng: Random, t: np.ndarray) -> np.ndarray:
    tone = np.sin(2 * np.pi * rng.uniform(3000, 6500) * t)
    trill = np.maximum(0, np.sin(2 * np.pi * rng.uniform(18, 45) * t))
    return tone * trill * ((rng.uniform(1, 4) * t + rng.uniform()) % 1 < rng.uniform(0.4, 0.9))


@sound
def birds(rng: Random, t: np.ndarray) -> np.ndarray:
    centre, span, length = rng.uniform(1800, 4500), rng.uniform(-1500, 1500), rng.uniform(0.05, 0.2)

    def chirp(strength: float) -> np.ndarray:
        n = int(length * RATE)
        pitch = centre * rng.uniform(0.9, 1.1) + span * np.linspace(-0.5, 0.5, n)
        return strength * np.hanning(n) * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)

    return events(t, rng.uniform(2, 7), 0.2, rng, chirp)


CLASSES = sorted(SOUNDS)


def recording(label: str, rng: Random, clips: int) -> list[np.ndarray]:
    """One origin of ``label``: so many clips of `SAMPLES` samples, cut from one rendering one after the other."""
    samples = clips * (SAMPLES + RATE // 4)
    clean = SOUNDS[label](rng, np.arange(samples) / RATE)
    clean = clean / np.sqrt(np.mean(clean**2))
    noisy = clean + coloured(samples, rng.uniform(0, 0.8), rng) * 10 ** (-rng.uniform(*SNR) / 20)
    spectrum, frequency = np.fft.rfft(noisy), np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 50.0)
    noisy = np.fft.irfft(spectrum * (frequency / 1000) ** rng.uniform(-0.5, 0.5), samples)  # the microphone
    pieces = []
    for i in range(clips):
        start = i * (SAMPLES + RATE // 4) + int(rng.integers(RATE // 4))
        piece = noisy[start : start + SAMPLES]
        piece = piece * rng.uniform(0.25, 0.45) / np.abs(piece).max()
        # FLAC drops low bits that are all zero: steps of 128 make small files.
        pieces.append(np.round(piece * 256) / 256)
    return pieces


def training_clip(number: int) -> np.ndarray:
    """A clip for training, float32 ``[SAMPLES]``: of class ``number`` modulo ten and an origin of its own."""
    rng = np.random.default_rng([SEED, 1, number])
    return recording(CLASSES[number % len(CLASSES)], rng, 1)[0].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with (out / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file_name", "label", "fold", "origin"])
        for fold in range(1, FOLDS + 1):
            (out / f"fold{fold}").mkdir(exist_ok=True)
            for i, label in enumerate(CLASSES):
                for number in range((fold - 1) * ORIGINS, fold * ORIGINS):
                    origin = f"{label}-{number:02d}"
                    clips = recording(label, np.random.default_rng([SEED, 0, i, number]), len(CUTS))
                    for cut, clip in zip(CUTS, clips, strict=True):
                        name = f"fold{fold}/{origin}-{cut}.flac"
                        soundfile.write(out / name, clip, RATE, subtype="PCM_16")
                        table.writerow([name, label, fold, origin])


if __name__ == "__main__":
    main()
