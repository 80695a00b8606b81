"""The bundled demo: what `mam run` says to someone who has just installed it."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import soundfile
from support.runs import data_words, jobs, pair_words

import mam
from mam.errors import MamError
from mam.evaluation.workbench import Workbench
from mam.files import assets
from mam.runs.run import run

ASSETS = assets()
SCRIPTS = Path(__file__).parents[1] / "scripts" / "demo"


def metadata(name: str) -> list[dict[str, str]]:
    with (ASSETS / name / "metadata.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_demo_is_real_and_neither_perfect_nor_broken():
    bench = Workbench()
    result = run(jobs([])[0], bench).result
    assert result.data.n == 90 and result.merge.tensors == 24
    assert 0.05 <= result.baseline.wer <= 0.30
    shifted = run(jobs(["data=demo_speech_shift", "lam=0"])[0], bench).result
    assert shifted.baseline.wer > result.baseline.wer + 0.1, "room for fine-tuning"
    assert run(jobs(["lam=1"])[0], bench).result.delta.ci95[0] > 0, "replacing the attention must hurt"


def test_sets_have_disjoint_sentences_and_all_splits():
    for name, voices in (("demo_speech", 5), ("demo_speech_shift", 1)):
        rows = metadata(name)
        by_split = {s: {r["transcription"] for r in rows if r["split"] == s} for s in ("train", "dev", "test")}
        assert all(by_split.values()) and not by_split["test"] & (by_split["train"] | by_split["dev"])
        assert not by_split["train"] & by_split["dev"]
        assert len({r["speaker"] for r in rows}) == voices
    known, shifted = ({r["speaker"] for r in metadata(name)} for name in ("demo_speech", "demo_speech_shift"))
    assert not known & shifted


def test_no_test_sentence_trained_the_target():
    sys.path.insert(0, str(SCRIPTS))
    try:
        from grammar import disjoint_sentences
        from synthesise import SEED
    finally:
        sys.path.remove(str(SCRIPTS))
    texts = disjoint_sentences(SEED, train=350, dev=50, test=100)
    for name in ("demo_speech", "demo_speech_shift"):
        rows = metadata(name)
        assert {r["transcription"] for r in rows if r["split"] == "test"} <= set(texts["test"])
    assert not set(texts["test"]) & set(texts["train"])
    words = {word for sentences in texts.values() for sentence in sentences for word in sentence.split()}
    assert len(words) == 73


SOUND_ASSETS = ("demo_sounds", "demo_beats", "demo_vit")


def test_the_sound_demo_is_real_and_neither_perfect_nor_broken():
    bench = Workbench()
    words = ["model=demo_beats_vit", "data=demo_sounds"]
    result = run(jobs([*words, "lam=0.1"])[0], bench).result
    assert result.data.n == 300 and result.delta.clusters == 150 and len(result.metrics.fold_errors) == 5
    assert 0.10 <= result.baseline.error <= 0.40
    assert run(jobs([*words, "lam=1"])[0], bench).result.delta.ci95[0] > 0, "replacing the attention must hurt"


def test_sounds_are_what_the_script_makes(tmp_path):
    """Byte for byte in the samples; clips of an origin share a fold, classes and folds are balanced."""
    subprocess.run([sys.executable, SCRIPTS / "sounds.py", "--out", tmp_path], check=True)
    made, bundled = tmp_path / "metadata.csv", ASSETS / "demo_sounds" / "metadata.csv"
    assert made.read_text() == bundled.read_text()
    rows = metadata("demo_sounds")
    for row in rows[::17]:
        mine, theirs = (soundfile.read(root / row["file_name"])[0] for root in (tmp_path, ASSETS / "demo_sounds"))
        assert abs(mine - theirs).max() <= 1 / 256, "another machine may round one step otherwise"
    assert Counter((row["label"], row["fold"]) for row in rows) == dict.fromkeys(product_of(rows), 6)
    assert len({(row["origin"], row["fold"]) for row in rows}) == len({row["origin"] for row in rows}) == 150


def product_of(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return list(product(sorted({row["label"] for row in rows}), sorted({row["fold"] for row in rows})))


def test_assets_are_small_and_lossless():
    sizes: Counter[str] = Counter()
    for path in ASSETS.rglob("*"):
        if path.is_file():
            name = path.relative_to(ASSETS).parts[0]
            sizes["sounds" if name in SOUND_ASSETS else "ladder" if name == "ladder" else "speech"] += (
                path.stat().st_size
            )
    assert sizes["speech"] <= 10_000_000 and sizes["sounds"] <= 6_000_000 and sizes["ladder"] <= 4_000_000
    formats = {(i.format, i.samplerate, i.channels) for i in map(soundfile.info, map(str, ASSETS.rglob("*.flac")))}
    assert formats == {("FLAC", 16000, 1)}


@pytest.mark.parametrize("what", ["nothing", "the data", "the models", "sentences"])
def test_without_the_demo_package_a_run_says_what_to_install(what, hubert_group, bert, clips, monkeypatch):
    pair, data = pair_words(hubert_group, bert), data_words(clips)
    words = {
        "nothing": [],
        "the data": [*pair, "data=demo_speech"],
        "the models": data,
        "sentences": [
            *pair,
            *data,
            f"calibration.audio={clips}",
            "method=regmean",
            "calibration.source=asset:sentences.txt",
        ],
    }[what]
    monkeypatch.setitem(sys.modules, "mam_demo", None)  # as import sees a package that is not there
    with pytest.raises(MamError, match=r"^asset:.*pip install 'mam-bench\[demo\]'"):
        mam.run(*words)
    assert not list(Path("outputs").rglob("result.json"))
