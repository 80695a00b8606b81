"""A sweep of 5 λ over the 5 folds of ESC-50, BEATs and AST at their published size with random weights.

    python scripts/bench/events.py

mam, and a loop that extracts the features of all clips for each λ and each fold and fits a probe to four folds. One λ
of one fold is timed three times, and the median is scaled to 25. Imports are not counted.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers
from common import timed
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel, ViTConfig, ViTModel

from mam.config.compose import jobs
from mam.evaluation.workbench import Workbench
from mam.libraries import quiet_libraries
from mam.models.beats import BeatsModel
from mam.studies.execute import execute, study_folder

LAMS, FOLDS = (0, 0.02, 0.05, 0.1, 0.2), 5
CLASSES = {0: "dog", 10: "rain"}
BEATS = {
    "input_patch_size": 16,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "deep_norm": True,
    "max_distance": 800,
}  # the rest is as in `BeatsConfig`


def write_esc50(root: Path, clips: int) -> None:
    """ESC-50's folder with so many clips of 5 s of noise, as many for each fold."""
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    rng = np.random.default_rng(0)
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i in range(clips):
        fold, (target, category) = i % FOLDS + 1, list(CLASSES.items())[i // FOLDS % 2]
        name = f"{fold}-{i}-A-{target}.wav"
        soundfile.write(root / "audio" / name, 0.1 * (1 + target) / 11 * rng.standard_normal(5 * 16_000), 16_000)
        lines.append(f"{name},{fold},{target},{category},False,{i},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")


def make_models(folder: Path) -> None:
    """BEATs, AST and ViT with random weights."""
    torch.manual_seed(0)
    ASTForAudioClassification(ASTConfig()).save_pretrained(folder / "ast")
    ASTFeatureExtractor().save_pretrained(folder / "ast")
    BeatsModel(BEATS).save_checkpoint(folder / "beats.pt")
    ViTModel(ViTConfig(), add_pooling_layer=False).save_pretrained(folder / "vit")


def mam_sweep(folder: Path, model: str, target: str) -> None:
    """What `mam run --multirun` does once it is imported, with nothing to find finished."""
    fresh = tempfile.mkdtemp(dir=folder)
    words = [f"model={model}", f"model.target={folder / target}", f"model.source={folder / 'vit'}", "control=none"]
    words += ["data=esc50", f"data.root={folder / 'esc'}", f"outputs={fresh}/out", f"cache_dir={fresh}/cache"]
    plan = jobs([*words, "head=probe_refit", f"lam={','.join(map(str, LAMS))}"], multirun=True).jobs
    ended = execute(plan, Workbench(), study_folder(plan, "multirun"))
    assert all(end.error is None for end in ended), ended


def merge(attentions: Iterable[torch.nn.Module], folder: Path, lam: float) -> None:
    """Mix Q, K and V of ViT into the attention of every layer."""
    source = ViTModel.from_pretrained(folder / "vit", add_pooling_layer=False)
    with torch.no_grad():
        for mine, its in zip(attentions, source.layers, strict=True):
            for part in ("q_proj", "k_proj", "v_proj"):
                getattr(mine, part).weight.lerp_(getattr(its.attention, part).weight, lam)
                getattr(mine, part).bias.lerp_(getattr(its.attention, part).bias, lam)


def waves(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """All clips and their classes."""
    paths = sorted((folder / "esc" / "audio").glob("*.wav"))
    return [soundfile.read(path, dtype="float32")[0] for path in paths], [path.stem.split("-")[-1] for path in paths]


def ast_features(folder: Path, lam: float) -> np.ndarray:
    """The mean of the last layer's states of every clip."""
    model = ASTModel.from_pretrained(folder / "ast").eval()
    merge((layer.attention for layer in model.layers), folder, lam)
    extract = ASTFeatureExtractor.from_pretrained(folder / "ast")
    with torch.inference_mode():
        return np.stack(
            [
                model(**extract(wave, sampling_rate=16_000, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
                for wave in waves(folder)[0]
            ]
        )


def beats_features(folder: Path, lam: float) -> np.ndarray:
    """The mean of the last layer's states of every clip."""
    model = BeatsModel.from_checkpoint(folder / "beats.pt").eval()
    merge((layer.self_attn for layer in model.encoder.layers), folder, lam)
    with torch.inference_mode():
        return np.stack([model(torch.from_numpy(wave)[None])[0].mean(0).numpy() for wave in waves(folder)[0]])


def by_hand(folder: Path, features: Callable[[Path, float], np.ndarray]) -> float:
    """One λ of one fold."""
    found, classes = features(folder, 0.1), np.array(waves(folder)[1])
    is_test = np.arange(len(classes)) % FOLDS == 0
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(found[~is_test], classes[~is_test])
    return float(probe.score(found[is_test], classes[is_test]))


def main() -> None:
    """Measure and print."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder)
        write_esc50(folder / "esc", 20)
        for title, model, target, features in (
            ("BEATs", "beats_vit", "beats.pt", beats_features),
            ("AST", "ast_vit", "ast", ast_features),
        ):
            mine = timed(lambda model=model, target=target: mam_sweep(folder, model, target))
            once = statistics.median(timed(lambda features=features: by_hand(folder, features)) for _ in range(3))
            loop = once * len(LAMS) * FOLDS
            print(f"{title} <- ViT, 20 clips of 5 s, 5 folds, {len(LAMS)} λ: mam {mine:.0f} s; the loop {loop:.0f} s")
            print(f"  loop/mam {loop / mine:.1f} (aim 3)")


if __name__ == "__main__":
    main()
