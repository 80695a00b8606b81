"""Fixtures: tiny random models made from real transformers configs, and small folders of real audio files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="mam-tests-")

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    BertConfig,
    BertModel,
    GenerationConfig,
    HubertConfig,
    HubertForCTC,
    ViTConfig,
    ViTModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from mam.config.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.files import read_jsonl
from mam.models.beats import BeatsModel
from mam.runs.run import Outcome, run
from mam.scoring.language_codes import LANGUAGES

WIDTH, HEADS, LAYERS, SOURCE_LAYERS = 32, 4, 3, 4
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "'"]
VECTORS = Path(os.environ.get("MAM_VECTORS", Path(__file__).parents[2] / "shared" / "vectors"))
MORE = Path(os.environ.get("MAM_REAL_MORE", Path(__file__).parents[2] / "shared" / "more"))
REAL = Path(os.environ.get("MAM_REAL", Path(__file__).parents[2] / "shared" / "real"))


@pytest.fixture(autouse=True)
def own_cache_and_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, with a cache of its own."""
    monkeypatch.setenv("MAM_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


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


def widen(model: torch.nn.Module, seed: int) -> None:
    """Random weights large enough for attention to matter: transformers starts at 0.02, where λ hardly shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed_positions" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5 * 1.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def rename_tensors(folder: Path, rename: Callable[[str], str]) -> None:
    """Give the tensors of a saved model the names that published files have."""
    path = folder / "model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


PROJECTIONS = (("q_proj", "k_proj", "v_proj"), ("linear_q", "linear_k", "linear_v"))


def merge_by_hand(attentions: list[torch.nn.Module], source_folder: Path, lam: float) -> None:
    """The merge in plain transformers: a whole BERT loaded, parameters mixed one by one."""
    source = BertModel.from_pretrained(source_folder, dtype=torch.float32)
    with torch.no_grad():
        for attention, layer in zip(attentions, source.encoder.layer, strict=False):
            names = next(names for names in PROJECTIONS if hasattr(attention, names[0]))
            for ours, theirs in zip(names, ("query", "key", "value"), strict=True):
                mine, other = getattr(attention, ours), getattr(layer.attention.self, theirs)
                mine.weight.copy_((1 - lam) * mine.weight + lam * other.weight)
                if mine.bias is not None:
                    mine.bias.copy_((1 - lam) * mine.bias + lam * other.bias)


def make_hubert(folder: Path, norm: str = "group", width: int = WIDTH) -> Path:
    torch.manual_seed(0)
    config = HubertConfig(
        vocab_size=len(LETTERS),
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        conv_dim=[16] * 7,
        conv_bias=norm == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = HubertForCTC(config).eval()
    widen(model, 1)
    model.save_pretrained(folder)
    # Published files have the weight norm of the positional convolution under its old names.
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, published in old.items():
        rename_tensors(folder, lambda name, new=new, published=published: name.replace(new, published))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json", word_delimiter_token="|", do_lower_case=False)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer", do_normalize=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def make_bert(
    folder: Path, prefix: str = "", width: int = WIDTH, layers: int = SOURCE_LAYERS, heads: int = HEADS
) -> Path:
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=50, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=48
    )
    model = BertModel(config).eval()
    widen(model, 3)
    model.save_pretrained(folder)
    rename_tensors(folder, lambda name: prefix + name)
    return folder


def make_whisper(folder: Path, languages: Sequence[str] = ()) -> Path:
    """English-only, or with the special tokens of a multilingual one in their order."""
    torch.manual_seed(4)
    told = [*languages, *(("translate", "transcribe") if languages else ())]
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in told), "<|notimestamps|>"]
    stamps = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    vocabulary = {chr(i): n for n, i in enumerate([*range(33, 127), 0x120])}  # 0x120 is a blank in byte-level BPE
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.add_tokens(stamps)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    end, start, *ids, plain = (tokenizer.convert_tokens_to_ids(token) for token in specials)
    by_name = dict(zip(told, ids, strict=True))
    multilingual = {
        "lang_to_id": {f"<|{code}|>": by_name[code] for code in languages},
        "task_to_id": {task: by_name[task] for task in ("translate", "transcribe") if languages},
        "suppress_tokens": list(range(start, len(tokenizer))),  # a random model would write them amid its text
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=2,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_target_positions=64,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    widen(model, 5)
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=bool(languages),
        **(multilingual if languages else {}),
        no_timestamps_token_id=plain,
        max_length=24,
        max_initial_timestamp_index=50,
    )
    model.save_pretrained(folder)
    return folder


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


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five clips of unequal length, two of them equal."""
    return write_folder(tmp_path / "clips", [0.6, 1.3, 0.9, 1.3, 0.4])


def pair_words(target: Path, source: Path, source_heads: int = HEADS) -> list[str]:
    """The command-line words that choose a tiny pair."""
    return [
        f"model.target={target}",
        f"model.source={source}",
        *(f"model.{side}_shape.width={WIDTH}" for side in ("target", "source")),
        f"model.target_shape.layers={LAYERS}",
        f"model.source_shape.layers={SOURCE_LAYERS}",
        f"model.target_shape.heads={HEADS}",
        f"model.source_shape.heads={source_heads}",
    ]


def data_words(root: Path) -> list[str]:
    """The command-line words that choose a folder of clips as a whole."""
    return ["data=audiofolder", f"data.root={root}", "data.split=all"]


@pytest.fixture
def words(hubert_group: Path, bert: Path, clips: Path) -> list[str]:
    """The command-line words of a run of the tiny HuBERT <- BERT pair on the clips."""
    return [*pair_words(hubert_group, bert), *data_words(clips)]


def once(words: list[str], bench: Workbench | None = None) -> Outcome:
    """Run one job."""
    return run(jobs(words)[0], bench or Workbench())


def predictions(outcome: Outcome, name: str = "predictions.jsonl") -> list[str]:
    """The texts that a run predicted, in order."""
    return [row["prediction"] for row in read_jsonl(outcome.folder / name)]


BEATS_CFG = {
    "input_patch_size": 16,
    "embed_dim": 16,
    "conv_bias": False,
    "encoder_layers": LAYERS,
    "encoder_embed_dim": WIDTH,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": HEADS,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "num_buckets": 32,
    "max_distance": 80,
    "gru_rel_pos": True,
    "finetuned_model": False,
    "predictor_class": 5,
}


def make_beats(path: Path, labels: list[str] | None = None, **changes: object) -> Path:
    """A tiny random BEATs in the original format."""
    torch.manual_seed(6)
    model = BeatsModel(BEATS_CFG | changes, None if labels is None else dict(enumerate(labels)))
    widen(model, 7)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_beats(tmp_path_factory.mktemp("beats") / "beats.pt")


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(8)
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=SOURCE_LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        image_size=8,
        patch_size=4,
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    widen(model, 9)
    folder = tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    return folder


CLASSES = ("hum", "buzz", "click")


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


def write_sounds(root: Path, folds: int = 3, each: int = 2, seconds: float = 0.6) -> Path:
    """``each`` clips of every class in every fold, two a recording, with metadata."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "label", "fold", "origin"])
        for number, (fold, label, i) in enumerate(
            (fold, label, i) for fold in range(1, folds + 1) for label in CLASSES for i in range(each)
        ):
            name = f"{fold}-{label}-{i}.wav"
            soundfile.write(root / name, sound(label, seconds + 0.1 * (number % 3), number), 16000)
            table.writerow([name, label, fold, f"{fold}-{label}-{i // 2}"])
    return root


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    return write_sounds(tmp_path / "sounds")


@pytest.fixture
def event_words(beats: Path, vit: Path, sounds: Path) -> list[str]:
    """The command-line words of a run of the tiny BEATs <- ViT pair on the sounds."""
    chosen = ["model=demo_beats_vit", "data=audiofolder", f"data.root={sounds}", "data.clusters=origin"]
    return [*chosen, *pair_words(beats, vit)]


@pytest.fixture(scope="session")
def ast(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("ast")
    config = ASTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=48,
        num_mel_bins=32,
        max_length=128,
        num_labels=3,
        id2label={0: "Dog", 1: "Rain", 2: "Sine wave"},
        label2id={"Dog": 0, "Rain": 1, "Sine wave": 2},
    )
    model = ASTForAudioClassification(config).eval()
    widen(model, 1)
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)
    return folder


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
def swept(odd_words: list[str]) -> Path:
    """λ = 0, 0.3, 0.6, each with shrink, in `outputs`."""
    for lam, control in ((0, "none"), (0.3, "none"), (0.3, "shrink"), (0.6, "none"), (0.6, "shrink")):
        once([*odd_words, f"lam={lam}", f"control={control}"])
    return Path("outputs")
