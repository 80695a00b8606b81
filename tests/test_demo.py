"""The bundled demo: what `mam run` says to someone who has just installed it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import soundfile

from mam.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.files import ASSETS
from mam.run import run

SCRIPTS = Path(__file__).parents[1] / "scripts" / "demo"


def metadata(name: str) -> list[dict[str, str]]:
    with (ASSETS / name / "metadata.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_demo_is_real_and_neither_perfect_nor_broken():
    bench = Workbench()
    result = run(jobs([])[0], bench).result
    assert result["data"]["n"] == 90 and result["merge"]["tensors"] == 24
    assert 0.05 <= result["baseline"]["wer"] <= 0.30
    shifted = run(jobs(["data=demo_speech_shift", "lam=0"])[0], bench).result
    assert shifted["baseline"]["wer"] > result["baseline"]["wer"] + 0.1, "room for fine-tuning"
    assert run(jobs(["lam=1"])[0], bench).result["delta"]["ci95"][0] > 0, "replacing the attention must hurt"


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


def test_assets_are_small_and_lossless():
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) <= 10_000_000
    formats = {(i.format, i.samplerate, i.channels) for i in map(soundfile.info, map(str, ASSETS.rglob("*.flac")))}
    assert formats == {("FLAC", 16000, 1)}
