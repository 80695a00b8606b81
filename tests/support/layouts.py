"""Public data sets in their official layouts, in small."""

from __future__ import annotations

from pathlib import Path

import soundfile

from mam.data.esc50 import COLUMNS
from support.audio import noise, sound

PROMPTS = ["Please call Stella.", "Ask her to bring these things.", "Six spoons of snow peas."]


def write_lj(root, count):
    (root / "wavs").mkdir(parents=True)
    lines = []
    for i in reversed(range(count)):
        lines.append(f"LJ{i:03d}|Dr. No {i}|Doctor No {i}")
        soundfile.write(root / "wavs" / f"LJ{i:03d}.wav", noise(0.1, i % 9), 22050)
    (root / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def _recording(path, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(0.1, 1), rate)


def write_vctk(root, version, speakers=10):
    """Speaker p2xx reads the three shared prompts and one sentence of its own."""
    for s in range(speakers):
        name = f"p{200 + s}"
        for i, text in enumerate([*PROMPTS, f"Only {name} says this."], 1):
            stem = f"{name}_{i:03d}"
            if version == "0.92":
                _recording(root / "wav48_silence_trimmed" / name / f"{stem}_mic1.flac", 48000)
                _recording(root / "wav48_silence_trimmed" / name / f"{stem}_mic2.flac", 48000)
            else:
                _recording(root / "wav48" / name / f"{stem}.wav", 48000)
            if name != "p205":  # stands for p315, whose texts were lost
                (root / "txt" / name).mkdir(parents=True, exist_ok=True)
                (root / "txt" / name / f"{stem}.txt").write_text(text.upper() if s == 3 else f"{text}\n")
    return root


def write_librispeech(root):
    for subset, reader in (("test-clean", "61"), ("dev-clean", "84"), ("train-clean-100", "103")):
        chapter = root / subset / reader / "70968"
        lines = []
        for i in range(2):
            _recording(chapter / f"{reader}-70968-{i:04d}.flac")
            lines.append(f"{reader}-70968-{i:04d} HE BEGAN A CONFUSED COMPLAINT {i}")
        (chapter / f"{reader}-70968.trans.txt").write_text("\n".join(lines) + "\n")
    return root


def write_esc50(root: Path, drop: int = 0) -> Path:
    """Two clips of one upload and one of another, for each fold and two classes."""
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    lines = [",".join(COLUMNS)]
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (10, "rain")):
            for source, take in ((100 + fold, "A"), (100 + fold, "B"), (200 + fold, "A")):
                name = f"{fold}-{source}{target}-{take}-{target}.wav"
                lines.append(f"{name},{fold},{target},{category},True,{source}{target},{take}")
                soundfile.write(root / "audio" / name, sound("hum", 0.3, fold), 44100)
    (root / "meta" / "esc50.csv").write_text("\n".join(lines[: len(lines) - drop]) + "\n")
    return root
