"""Speak the demo sentences with free TTS engines: the bundled sets and the speech that trains the demo target.

    apt-get install flite festival festvox-kdlpc16k espeak-ng
    python scripts/demo/synthesise.py --training outputs/demo/training --bundled demo/mam_demo

Runs again from its seed. Engines of another version speak slightly differently; the recordings that mam bundles are
the reference, this script says how they came about.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from grammar import disjoint_sentences

RATE = 16000
KNOWN_VOICES = ["flite-slt", "flite-rms", "flite-awb", "flite-kal16", "espeak-us"]
UNKNOWN_VOICE = "festival-ked"
PITCH = {"flite-slt": 170, "flite-rms": 100, "flite-awb": 120, "flite-kal16": 110}  # Hz, about each voice's own mean
SEED = 20240101


@dataclass(frozen=True)
class Clip:
    """One recording to make: what is said, by whom, under which noise. ``seed`` fixes every random detail of it."""

    name: str
    text: str
    voice: str
    noise: str
    seed: int


def speak(text: str, voice: str, rng: random.Random, wav: Path) -> None:
    """Let one engine write ``wav``; speed varies by ±15 % and, where the engine allows, pitch by ±10 %."""
    engine, name = voice.split("-")
    stretch = rng.uniform(0.87, 1.15)
    if engine == "flite":
        pitch = PITCH[voice] * rng.uniform(0.9, 1.1)
        options = ["--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch:.1f}"]
        command = ["flite", "-voice", name, *options, "-t", text, "-o", str(wav)]
    elif engine == "espeak":
        pitch = 50 * rng.uniform(0.8, 1.2)
        command = [
            "espeak-ng",
            "-v",
            f"en-{name}",
            "-s",
            f"{150 / stretch:.0f}",
            "-p",
            f"{pitch:.0f}",
            "-w",
            str(wav),
            text,
        ]
    else:
        choose = ["-eval", f"(voice_{name}_diphone)", "-eval", f"(Parameter.set 'Duration_Stretch {stretch:.3f})"]
        command = ["text2wave", "-o", str(wav), *choose]
    subprocess.run(command, input=text.encode(), check=True, capture_output=True)


def coloured_noise(samples: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power whose amplitude falls as frequency^-slope (0 white, 0.5 pink, 1 brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 40.0)
    noise = np.fft.irfft(spectrum * frequency**-slope, samples)
    return noise / np.sqrt(np.mean(noise**2))


def hum(samples: int, rng: np.random.Generator) -> np.ndarray:
    """An engine-like hum of unit power: harmonics of about 90 Hz that wax and wane, over brown noise."""
    t = np.arange(samples) / RATE
    base = rng.uniform(80, 100)
    tones = sum(np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6.28)) / k for k in range(1, 9))
    noise = tones * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 4) * t)) + coloured_noise(samples, 1.0, rng)
    return noise / np.sqrt(np.mean(noise**2))


def record(clip: Clip, folder: Path) -> float:
    """Write ``folder/clip.name`` (FLAC, 16 kHz, mono) and return its length in seconds."""
    rng, noise_rng = random.Random(clip.seed), np.random.default_rng(clip.seed)
    with tempfile.TemporaryDirectory() as scratch:
        wav = Path(scratch) / "speech.wav"
        speak(clip.text, clip.voice, rng, wav)
        speech, rate = soundfile.read(wav)
    speech = soxr.resample(speech, rate, RATE)
    loud = np.flatnonzero(np.abs(speech) > 0.02 * np.abs(speech).max())
    edge = int(0.08 * RATE)  # engines differ in the silence they leave: keep 80 ms of it
    speech = np.pad(speech, edge)[loud[0] : loud[-1] + 2 * edge]
    if clip.noise == "known":
        noise, snr = coloured_noise(len(speech), rng.choice([0.0, 0.25, 0.5]), noise_rng), rng.uniform(15, 25)
    else:
        noise, snr = hum(len(speech), noise_rng), rng.uniform(12, 20)
    power = np.sqrt(np.mean(speech**2))
    noisy = speech + noise * power * 10 ** (-snr / 20)
    noisy *= rng.uniform(0.25, 0.45) / np.abs(noisy).max()
    # FLAC drops low bits that are all zero: steps of 64 halve the files and leave the word error rate as it was.
    samples = (np.round(noisy * 32768 / 64) * 64).astype(np.int16)
    path = folder / clip.name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return len(samples) / RATE


def write_set(folder: Path, clips: list[Clip], columns: list[str]) -> None:
    """Record all clips and write ``metadata.csv`` beside them, in the order of ``clips``."""
    with ThreadPoolExecutor(2) as pool:
        seconds = list(pool.map(lambda clip: record(clip, folder), clips))
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        for clip in clips:
            fields = {
                "file_name": clip.name,
                "split": clip.name.split("/")[0],
                "speaker": clip.voice,
                "transcription": clip.text,
            }
            table.writerow([fields[column] for column in columns])
    print(f"{folder}: {len(clips)} clips, {sum(seconds):.0f} s")


def plan(split: str, sentences: list[str], voices: list[str], noise: str, first_seed: int) -> list[Clip]:
    """One clip a sentence, the voices taking turns."""
    return [
        Clip(f"{split}/{split}-{i:03d}.flac", text, voices[i % len(voices)], noise, first_seed + i)
        for i, text in enumerate(sentences)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--training", type=Path, required=True, help="folder for the speech that trains the demo target"
    )
    parser.add_argument(
        "--bundled", type=Path, required=True, help="folder that gets demo_speech/ and demo_speech_shift/"
    )
    parser.add_argument("--only", choices=["training", "bundled"])
    arguments = parser.parse_args()
    texts = disjoint_sentences(SEED, train=350, dev=50, test=100)
    if arguments.only != "bundled":
        everyone = [
            Clip(f"train/{voice}-{i:03d}.flac", text, voice, "known", SEED + 1000 * v + i)
            for v, voice in enumerate(KNOWN_VOICES)
            for i, text in enumerate(texts["train"])
        ]
        write_set(arguments.training, everyone, ["file_name", "speaker", "transcription"])
    if arguments.only != "training":
        columns = ["file_name", "split", "speaker", "transcription"]
        known, shift = [], []
        for number, (split, known_size, shift_size) in enumerate(
            [("train", 20, 100), ("dev", 40, 40), ("test", 90, 60)]
        ):
            seed = SEED + 10_000 * (number + 1)
            known += plan(split, texts[split][:known_size], KNOWN_VOICES, "known", seed)
            shift += plan(split, texts[split][:shift_size], [UNKNOWN_VOICE], "hum", seed + 5000)
        write_set(arguments.bundled / "demo_speech", known, columns)
        write_set(arguments.bundled / "demo_speech_shift", shift, columns)


if __name__ == "__main__":
    main()
