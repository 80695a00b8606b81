"""What only a GPU shows: every family beside the CPU, runs and trainings from the command line's words, their memory.

Without a GPU they skip; MAM_GPU_TESTS=cpu runs those that a CPU can, to look for mistakes in the tests themselves.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from support.audio import noise, write_folder
from support.families import FAMILIES, make_ctc
from support.models import make_beats
from support.runs import data_words, jobs, once, pair_words, predictions
from transformers import set_seed

from mam.errors import MamError
from mam.evaluation.devices import make_repeatable
from mam.evaluation.workbench import Workbench
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.targets import Target
from mam.small_files import read_jsonl
from mam.studies.execute import execute
from mam.training.learner import Learner

DEVICE = torch.device(os.environ.get("MAM_GPU_TESTS", "cuda"))
IS_GPU = DEVICE.type == "cuda"
ON = [f"device={DEVICE.type}"]
needs_gpu = pytest.mark.skipif(not IS_GPU, reason="this one needs a GPU")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(IS_GPU and not torch.cuda.is_available(), reason="device=cuda: torch finds no GPU"),
]

# Largest error of all logits together, |GPU - CPU| / |CPU in fp32|. One rounding is 6e-8, 5e-4 and 4e-3 of a value
# (fp32, fp16, bf16). Some twenty roundings follow each other in three layers and their front-end, and weights this
# wide make of a small difference a larger one: a CPU in fp16 and bf16 is up to 5e-3 and 4e-2 off, in TF32 (5e-4) a GPU
# would be as far off as in fp16.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 8e-2}
SECONDS = (0.5, 1.6, 0.83, 1.6)


@pytest.fixture(autouse=True)
def repeatable() -> None:
    """As mam has it wherever it loads a model."""
    make_repeatable(DEVICE)


@pytest.fixture(scope="module", params=["hubert", *FAMILIES, "whisper", "beats", "ast"])
def family(request, tmp_path_factory) -> tuple[Path, str]:
    """A tiny random checkpoint, and what is read off it."""
    if request.param in FAMILIES:
        return make_ctc(tmp_path_factory.mktemp(request.param), request.param), "text"
    if request.param == "beats":  # fine-tuned, so that it has scores
        folder = tmp_path_factory.mktemp("beats")
        names = ["a", "b", "c", "d", "e"]
        return make_beats(folder / "beats.pt", names, finetuned_model=True, predictor_class=5), "scores"
    name, readout = {"hubert": ("hubert_layer", "text"), "whisper": ("whisper", "text"), "ast": ("ast", "scores")}[
        request.param
    ]
    return request.getfixturevalue(name), readout


def waves() -> list[np.ndarray]:
    return [noise(seconds, i) for i, seconds in enumerate(SECONDS)]


def loaded(family: tuple[Path, str], device: torch.device, dtype: torch.dtype) -> Target:
    target = load_target(locate(str(family[0])), family[1])
    target.to(device, dtype)
    return target


def outputs(target: Target) -> list[torch.Tensor]:
    """Logits of every clip without padding; of Whisper what its encoder gives, the rest is a matter of tokens."""
    with torch.inference_mode():
        hidden = target.advance(target.front([wave[:16000] for wave in waves()]), 0, target.depth)
        if target.readout == "scores":
            made = list(target.scores(hidden))
        elif hasattr(target, "logits"):
            made = target.logits(hidden)
        else:
            last = target.last(hidden)
            made = [row[:n] for row, n in zip(last.states, last.lengths.tolist(), strict=True)]
        if target.readout == "text":
            assert len(target.transcribe(hidden)) == len(SECONDS)
        return [one.float().cpu() for one in made]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_every_family_says_what_it_says_on_the_cpu(family, dtype):
    expected = torch.cat([one.flatten() for one in outputs(loaded(family, torch.device("cpu"), torch.float32))])
    target = loaded(family, DEVICE, getattr(torch, dtype))
    found = torch.cat([one.flatten() for one in outputs(target)])
    assert found.isfinite().all() and found.shape == expected.shape
    error = float((found - expected).norm() / expected.norm())
    print(f"{family[0].name} {dtype}: {error:.1e}")
    assert error < TOLERANCES[dtype]
    again = torch.cat([one.flatten() for one in outputs(target)])
    assert torch.equal(found, again)


def test_every_familys_gradients_repeat_bit_for_bit(family):
    """In training mode, with the dropout and SpecAugment of one seed, under fp32 and under bf16's autocast."""
    target = loaded(family, DEVICE, torch.float32)
    target.model.train()
    for is_half in (False, True):
        made = []
        for _ in range(2):
            set_seed(0)
            target.model.zero_grad()
            heard = target.listen([wave[:16000] for wave in waves()])
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=is_half):
                hidden = target.advance(target.embed(heard), 0, target.depth)
                if target.readout == "text":
                    tokens = [target.spell(text, lambda text: text)[0] for text in ("A", "NO", "I", "ON")]
                    losses = target.losses(hidden, tokens, 0.1)
                else:
                    losses = target.pooled(hidden).square().mean(1)
            losses.mean().backward()
            grads = [parameter.grad for parameter in target.model.parameters() if parameter.grad is not None]
            assert len(grads) > 20 and all(grad.isfinite().all() for grad in grads)
            made.append([losses.detach(), *(grad.clone() for grad in grads)])
        assert all(torch.equal(*both) for both in zip(*made, strict=True))


def files_of(outcome, *names: str) -> list[bytes]:
    return [(outcome.folder / name).read_bytes() for name in names]


def test_a_sweep_on_the_demo(tmp_path):
    words = ["lam=0,0.05", "control=none"]
    plan = jobs([*words, *ON], multirun=True)
    ended = execute(plan, Workbench(), tmp_path / "sweep")
    assert [end.error for end in ended] == [None, None]
    zero, merged = (end.outcome for end in ended)
    assert files_of(zero, "predictions.jsonl") == files_of(zero, "baseline.jsonl")
    assert predictions(merged) != predictions(merged, "baseline.jsonl")
    for outcome in (zero, merged):
        env = outcome.result.env
        assert env.dtype == "float32"
        assert env.device == (torch.cuda.get_device_name() if IS_GPU else "cpu")
    on_cpu = once(["lam=0.05", "device=cpu", "outputs=cpu"])
    assert merged.result.metrics.wer == pytest.approx(on_cpu.result.metrics.wer, abs=0.01)
    same = [a == b for a, b in zip(predictions(merged), predictions(on_cpu), strict=True)]
    assert np.mean(same) > 0.95  # a letter may turn where two are equally probable


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("float16", marks=needs_gpu)])
def test_two_runs_are_the_same_bytes(dtype, monkeypatch, tmp_path):
    """With nothing shared: neither the workbench nor what lies on disk."""
    made = []
    for name in ("one", "two"):
        monkeypatch.setenv("MAM_CACHE", str(tmp_path / name))
        made.append(once([*ON, f"dtype={dtype}", "lam=0.1", f"outputs={name}", "data.limit=30"]))
    assert made[0].result.env.dtype == dtype
    names = ("predictions.jsonl", "baseline.jsonl", "attention.csv", "lambda.csv")
    assert files_of(made[0], *names) == files_of(made[1], *names)


def test_sounds_are_told_apart(event_words):
    outcomes = [once([*event_words, "lam=0.3", f"dtype={dtype}", *ON]) for dtype in ("float32", "bfloat16")]
    on_cpu = once([*event_words, "lam=0.3", "device=cpu", "outputs=cpu"])
    for outcome in outcomes:  # of 18 clips one may turn
        assert outcome.result.metrics.errors == pytest.approx(on_cpu.result.metrics.errors, abs=1)


@pytest.fixture
def lesson(hubert_layer, bert, tmp_path) -> list[str]:
    """Of clips beyond 4 s too: from there on a GPU's CTC would add in no fixed order."""
    seconds = [0.6, 1.3, 0.9, 5.1, 0.8, 4.7, 1.1, 0.7, 0.9, 1.2]
    taught = write_folder(tmp_path / "taught", seconds, split=["train"] * 6 + ["dev"] * 2 + ["test"] * 2)
    quick = ["train.steps=6", "train.evaluate_every=2", "train.log_every=1", "train.batch_size=4"]
    return [*pair_words(hubert_layer, bert), "data=audiofolder", f"data.root={taught}", *quick, *ON]


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=needs_gpu)])  # with a scaler
def test_lmam_is_interrupted_goes_on_and_ends_with_the_same_bytes(precision, lesson, monkeypatch):
    words = [*lesson, "train=lmam", "lam=0.3", f"train.precision={precision}"]
    names = ("predictions.jsonl", "metrics.jsonl", "lambda.csv", "model/model.safetensors")
    whole, again = (once([*words, f"outputs={name}"]) for name in ("whole", "again"))
    assert files_of(whole, *names) == files_of(again, *names)
    assert whole.result.train.settings["precision"] == precision
    assert any(abs(lam - 0.3) > 0 for lam in whole.result.merge.lam)
    forward, steps = Learner.forward, []

    def fatal(self, **batch):
        steps.append(self.training)
        if sum(steps) == 5:
            raise KeyboardInterrupt
        return forward(self, **batch)

    monkeypatch.setattr(Learner, "forward", fatal)
    with pytest.raises(KeyboardInterrupt):
        once([*words, "outputs=cut"])
    assert sorted(path.name for path in Path("cut/unfinished").glob("*/all/*")) == ["checkpoint-2", "checkpoint-4"]
    resumed = once([*words, "outputs=cut"])
    assert sum(steps) == 5 + 2  # steps 5 and 6; the fifth forward was the one cut off
    assert files_of(whole, *names) == files_of(resumed, *names)


@needs_gpu
def test_float16_trains_over_steps_that_overflow(lesson):
    """Its loss is scaled by 65,536 at first, which is too much for some gradients: such a step is skipped."""
    outcome = once([*lesson, "train=lmam", "lam=0.3", "train.precision=float16"])
    norms = [log["grad_norm"] for log in read_jsonl(outcome.folder / "metrics.jsonl") if "grad_norm" in log]
    assert len(norms) == 6 and None in norms


@needs_gpu
def test_more_processes_than_gpus_are_refused(lesson, monkeypatch):
    gpus = torch.cuda.device_count()
    for name, value in {"WORLD_SIZE": gpus + 1, "RANK": gpus, "LOCAL_RANK": gpus}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(MamError, match=f"there are {gpus + 1} processes but only {gpus} GPUs"):
        once([*lesson, "train=finetune", "lam=0"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch's own compiler
def test_compiled_layers_say_the_same(hubert_layer, bert, clips):
    words = [*pair_words(hubert_layer, bert), *data_words(clips), *ON, "lam=0.4"]
    plain, compiled = once(words), once([*words, "compile=true"])
    assert compiled.result.env.dtype == "float32, compiled"
    assert predictions(compiled) == predictions(plain)


@needs_gpu
def test_a_pack_that_does_not_fit_is_computed_in_halves(hubert_layer, bert, monkeypatch, tmp_path):
    """Clips that take some 400 MB together, then with two thirds of that: enough for one half of them."""
    root = write_folder(tmp_path / "many", [6.0] * 47 + [5.0])
    words = [*pair_words(hubert_layer, bert), *data_words(root), *ON, "lam=0.3", "evaluate.batch_seconds=1000"]
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    whole = once([*words, "outputs=whole"])
    peak, total = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    gc.collect()
    torch.cuda.empty_cache()
    monkeypatch.setenv("MAM_CACHE", str(tmp_path / "other"))
    torch.cuda.set_per_process_memory_fraction(0.67 * peak / total)
    try:
        halved = once([*words, "outputs=halved"])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "enough memory for 48 clips at a time; the batch is halved" in (halved.folder / "mam.log").read_text()
    same = [a == b for a, b in zip(predictions(halved), predictions(whole), strict=True)]
    assert np.mean(same) > 0.95


@needs_gpu
def test_a_training_that_does_not_fit_says_what_to_do(lesson):
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()
    total = torch.cuda.get_device_properties(0).total_memory
    forward = Learner.forward

    def large(self, **batch):
        torch.cuda.set_per_process_memory_fraction((held + 2**20) / total)
        torch.empty(2**26, device=DEVICE)
        return forward(self, **batch)

    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(MamError, match="Halve train.batch_size=4 and"),
        ):
            patch.setattr(Learner, "forward", large)
            once([*lesson, "train=finetune", "lam=0"])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@needs_gpu
def test_a_merge_of_a_moved_model_is_undone_bit_for_bit():
    """The pristine tensors are those of the file, whatever the dtype on the GPU."""
    bench, config = Workbench(), jobs([*ON, "dtype=bfloat16", "lam=0.5", "data.limit=5"])[0].config
    pair = bench.pair(config)
    before = [block.projection("q").weight.clone() for block in pair.target.blocks]
    once([*ON, "dtype=bfloat16", "lam=0.5", "data.limit=5"], bench)
    assert all(torch.equal(a, b.projection("q").weight) for a, b in zip(before, pair.target.blocks, strict=True))


def test_the_course_of_a_training_is_recorded(lesson):
    outcome = once([*lesson, "train=lmam", "lam=0.3"])
    logs = read_jsonl(outcome.folder / "metrics.jsonl")
    assert [log["step"] for log in logs if "eval_wer" in log] == [0, 2, 4, 6]
    assert all(np.isfinite(log["loss"]) for log in logs if "loss" in log)


def test_two_sources_are_learnt(lesson, bert, vit):
    """A λ of each; where they are clamped, the projection is computed on the device."""
    words = [*lesson, f"model.sources=[{bert},{vit}]", "train=lmam", "lam=[0.6,0.4]", "train.lam.learning_rate=0.05"]
    outcome = once(words)
    assert len(outcome.result.merge.by_source) == 2 and max(outcome.result.merge.lam) <= 1 + 1e-6
    assert predictions(once([*words, "outputs=again"])) == predictions(outcome)
