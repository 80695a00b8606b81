"""Fixtures: tiny models, small folders of recordings, the words of runs."""

from __future__ import annotations

import csv
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="mam-tests-")

import pytest
from support.audio import write_folder, write_sounds
from support.models import HEADS, make_ast, make_beats, make_bert, make_hubert, make_vit, make_whisper
from support.real import MORE, REAL
from support.runs import QUICK, data_words, once, pair_words

from mam.scoring.language_codes import LANGUAGES


@pytest.fixture(autouse=True)
def own_cache_and_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, with a cache of its own."""
    monkeypatch.setenv("MAM_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


@pytest.fixture(autouse=True, scope="module")
def libraries_are_no_garbage() -> None:
    """Each training collects garbage, which takes half a second if it looks at all that libraries hold."""
    if gc.get_freeze_count() == 0 and "transformers.trainer" in sys.modules:
        gc.collect()
        gc.freeze()


@pytest.fixture
def never_waits() -> Iterator[None]:
    """A test that would wait for ever, such as for the other end of a pipe, fails."""

    def fail(*_: object) -> None:
        raise TimeoutError("the test waits for something")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def real() -> Path:
    """Real weights and recordings; the tests that use them are skipped where they are absent."""
    if not (REAL / "models").is_dir():
        pytest.skip(f"no real weights and recordings in {REAL} (set MAM_REAL)")
    return REAL


@pytest.fixture(scope="session")
def more() -> Path:
    """More real weights and recordings, in `whisper-base`, `prompts-it` and others; tests ask for what they need."""
    return MORE


@pytest.fixture(scope="session")
def hubert_group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hubert(tmp_path_factory.mktemp("hubert_group"), "group")


@pytest.fixture(scope="session")
def hubert_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hubert(tmp_path_factory.mktemp("hubert_layer"), "layer")


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def long_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that hears 30 s at a time, as published ones do, which takes long."""
    return make_whisper(tmp_path_factory.mktemp("long_whisper"), seconds=30)


@pytest.fixture(scope="session")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny multilingual Whisper that writes text, with the 99 languages of most published ones: no Cantonese."""
    return make_whisper(tmp_path_factory.mktemp("polyglot"), [code for code in LANGUAGES if code != "yue"])


@pytest.fixture
def edited(polyglot: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of it whose generation_config.json is another: entries changed, those of None removed; or no file."""

    def edit(exists: bool = True, **entries: object) -> Path:
        folder = tmp_path / "edited"
        shutil.copytree(polyglot, folder, dirs_exist_ok=True)
        path = folder / "generation_config.json"
        content = json.loads(path.read_text()) | entries
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        if not exists:
            path.unlink()
        return folder

    return edit


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named as in bert-large-uncased: every tensor below ``bert.``."""
    return make_bert(tmp_path_factory.mktemp("bert"), "bert.")


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named as in all-MiniLM-L6-v2: without a prefix; twice as many heads."""
    return make_bert(tmp_path_factory.mktemp("minilm"), "", heads=2 * HEADS)


@pytest.fixture(scope="session")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_beats(tmp_path_factory.mktemp("beats") / "beats.pt")


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="session")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ast(tmp_path_factory.mktemp("ast"))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five clips of unequal length, two of them equal."""
    return write_folder(tmp_path / "clips", [0.6, 1.3, 0.9, 1.3, 0.4])


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    return write_sounds(tmp_path / "sounds")


@pytest.fixture
def words(hubert_group: Path, bert: Path, clips: Path) -> list[str]:
    """The command-line words of a run of the tiny HuBERT <- BERT pair on the clips."""
    return [*pair_words(hubert_group, bert), *data_words(clips)]


@pytest.fixture
def split_words(hubert_group: Path, bert: Path, tmp_path: Path) -> list[str]:
    """The same pair on eight clips, five of them dev, three of them test."""
    lengths = [0.6, 1.3, 0.9, 1.3, 0.4, 0.8, 1.1, 0.7]
    data = write_folder(tmp_path / "data", lengths, split=["dev"] * 5 + ["test"] * 3)
    return [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}", "evaluate.draws=200"]


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """Ten clips, six of them train, two dev, two test."""
    seconds = [0.6, 1.3, 0.9, 1.3, 0.8, 1.0, 1.1, 0.7, 0.9, 1.2]
    return write_folder(tmp_path / "taught", seconds, split=["train"] * 6 + ["dev"] * 2 + ["test"] * 2)


@pytest.fixture
def lesson(hubert_group: Path, bert: Path, taught: Path) -> list[str]:
    """The words of a quick training of the tiny HuBERT <- BERT pair; those of QUICK come last."""
    return [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={taught}", *QUICK]


@pytest.fixture
def spoken(polyglot: Path, bert: Path, clips: Path) -> list[str]:
    """The words of a run of the multilingual Whisper <- BERT pair on the clips."""
    return [*pair_words(polyglot, bert), *data_words(clips)]


@pytest.fixture
def event_words(beats: Path, vit: Path, sounds: Path) -> list[str]:
    """The command-line words of a run of the tiny BEATs <- ViT pair on the sounds."""
    chosen = ["model=demo_beats_vit", "data=audiofolder", f"data.root={sounds}", "data.clusters=origin"]
    return [*chosen, *pair_words(beats, vit)]


ODD = [
    "<script>alert('x')</script> & \"more\"",
    "fifty % of _all_ $5 #1 {a} ~b ^c \\d",
    "שלום עולם 🎉",
    "HELLO THERE",
    "NO | NO",
]


@pytest.fixture
def odd_words(words: list[str], clips: Path) -> list[str]:
    """A tiny run whose transcripts have everything in them that means something in HTML or LaTeX."""
    names = [f"clip{i}.wav" for i in range(5)]
    with (clips / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "transcription"], *zip(names, ODD, strict=True)])
    return [*words, "evaluate.draws=200", "data.normalizer=none"]


@pytest.fixture
def swept(odd_words: list[str], made_once: Callable[..., Path]) -> Path:
    """λ = 0, 0.3, 0.6, each with shrink, in `outputs`."""
    chosen = ((0, "none"), (0.3, "none"), (0.3, "shrink"), (0.6, "none"), (0.6, "shrink"))
    return made_once("swept", [[*odd_words, f"lam={lam}", f"control={control}"] for lam, control in chosen])


@pytest.fixture
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs that many tests begin with: the first computes them, the others get copies in `outputs`."""

    def made(name: str, runs: list[list[str]]) -> Path:
        kept = tmp_path_factory.getbasetemp() / "made_once" / name
        if not kept.exists():
            for words in runs:
                once(words)
            shutil.copytree("outputs", kept)
        return Path(shutil.copytree(kept, "outputs", dirs_exist_ok=True))

    return made
