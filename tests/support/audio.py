"""Small folders of real audio files: noise to transcribe, sounds to tell apart."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

CLASSES = ("hum", "buzz", "click")


def noise(seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    """Noise with a wavering tone in it: something a random model answers differently from clip to clip."""
    t = np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (200 + 150 * seed + 80 * np.sin(2 * np.pi * 3 * t)) * t)
    return (0.1 * np.random.default_rng(seed).standard_normal(len(t)) + 0.2 * tone).astype(np.float32)


def write_folder(root: Path, seconds: list[float], **columns: list[str]) -> Path:
    """An audiofolder of noise: clip i lasts ``seconds[i]``."""
    root.mkdir(parents=True, exist_ok=True)
    texts = ["HELLO THERE", "ANNA", "BOTTLES AND JARS", "YES", "NO NO", "COFFEE AT NOON"]
    with (root / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "transcription", *columns])
        for i, length in enumerate(seconds):
            soundfile.write(root / f"clip{i}.wav", noise(length, i), 16000)
            table.writerow([f"clip{i}.wav", texts[i % len(texts)], *(values[i] for values in columns.values())])
    return root


def sound(label: str, seconds: float, seed: int) -> np.ndarray:
    """A tone, a rough tone or clicks, under noise: classes that pooled features of a random model tell apart."""
    t = np.arange(int(seconds * 16000)) / 16000
    pitch = np.random.default_rng(seed).uniform(0.8, 1.2)
    clean = {
        "hum": np.sin(2 * np.pi * 220 * pitch * t),
        "buzz": np.sign(np.sin(2 * np.pi * 900 * pitch * t)),
        "click": (t * 12 * pitch % 1 < 0.02).astype(float),
    }[label]
    return (0.2 * clean + 0.1 * np.random.default_rng(seed + 1).standard_normal(len(t))).astype(np.float32)


def write_sounds(root: Path, folds: int = 3, each: int = 2) -> Path:
    """``each`` clips of every class in every fold, two a recording, with metadata."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "label", "fold", "origin"])
        for number, (fold, label, i) in enumerate(
            (fold, label, i) for fold in range(1, folds + 1) for label in CLASSES for i in range(each)
        ):
            name = f"{fold}-{label}-{i}.wav"
            soundfile.write(root / name, sound(label, 0.6 + 0.1 * (number % 3), number), 16000)
            table.writerow([name, label, fold, f"{fold}-{label}-{i // 2}"])
    return root
