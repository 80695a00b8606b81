"""HuBERT-large <- BERT-large from disk: mam's merge, and the state-dict merge that one writes by hand.

    python scripts/bench/merge.py

Both start with the target in memory; compared with the time that the needed bytes (the source's Q, K and V) take to be
read. Random weights in fp32. Peaks of memory in processes of their own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from common import LARGE, extra_memory, make_pair, median_of, peak_alone
from safetensors import safe_open
from transformers import BertModel

from mam.merging.merger import Merger
from mam.merging.options import MergeOptions
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.shape import Shape
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source
from mam.models.targets import Target

LAYERS = LARGE["num_hidden_layers"]
PARTS = {"q": ("q_proj", "query"), "k": ("k_proj", "key"), "v": ("v_proj", "value")}


def plan(lam: float) -> MergePlan:
    """All layers, Q, K and V with biases."""
    shape = Shape(LAYERS, LARGE["hidden_size"], LARGE["num_attention_heads"])
    return plan_merge(MergeOptions(lam=lam), shape, shape)


def by_mam(target: Target, folder: Path) -> None:
    """In place, tensor by tensor, from pristine copies."""
    Merger(target.blocks, Source(locate(str(folder / "bert"))).read).apply(plan(0.05))


def by_hand(target: Target, folder: Path) -> None:
    """The whole source loaded, a state dict taken, changed and loaded again."""
    source = BertModel.from_pretrained(folder / "bert", dtype=torch.float32).state_dict()
    state = target.model.state_dict()
    for layer in range(LAYERS):
        for ours, theirs in PARTS.values():
            for kind in ("weight", "bias"):
                name = f"hubert.encoder.layers.{layer}.attention.{ours}.{kind}"
                state[name] = (
                    0.95 * state[name] + 0.05 * source[f"encoder.layer.{layer}.attention.self.{theirs}.{kind}"]
                )
    target.model.load_state_dict(state)


def read_needed(folder: Path) -> None:
    """Every needed byte, into memory of our own."""
    with safe_open(str(folder / "bert" / "model.safetensors"), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is not a dict
            if any(f"attention.self.{theirs}." in name for _, theirs in PARTS.values()):
                file.get_tensor(name).clone()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", choices=("mam", "hand"))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.peak:
        target = load_target(locate(str(arguments.folder / "hubert")))
        print(extra_memory(lambda: {"mam": by_mam, "hand": by_hand}[arguments.peak](target, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pair(folder, LARGE)
        target = load_target(locate(str(folder / "hubert")))
        merger = Merger(target.blocks, Source(locate(str(folder / "bert"))).read)
        seconds = {
            "mam": median_of(lambda: by_mam(target, folder), 5),
            "again": median_of(lambda: merger.apply(plan(0.05)), 5),
            "hand": median_of(lambda: by_hand(target, folder), 3),
            "read": median_of(lambda: read_needed(folder), 5),
        }
        words = ("--folder", str(folder), "--peak")
        peaks = {side: peak_alone(__file__, *words, side) for side in ("mam", "hand")}
    print("HuBERT-large <- BERT-large, 24 × 1024, all Q, K, V, fp32, files in the page cache")
    print(
        f"merge   mam {seconds['mam']:.3f} s with copies of what changes, {seconds['again']:.3f} s each further λ;"
        f" by hand {seconds['hand']:.3f} s; reading the needed bytes {seconds['read']:.3f} s"
    )
    print(
        f"  mam/read {seconds['again'] / seconds['read']:.2f} (aim 3; with the first λ's copies"
        f" {seconds['mam'] / seconds['read']:.2f}); hand/mam {seconds['hand'] / seconds['mam']:.1f}"
    )
    copies = LAYERS * 3 * 1024 * 1025 * 4 / 2**20
    print(
        f"memory beyond the target, at its peak: mam {peaks['mam']:.0f} MB (copies of what changes are {copies:.0f} MB,"
        f" the rest one source tensor at a time), by hand {peaks['hand']:.0f} MB"
    )


if __name__ == "__main__":
    main()
