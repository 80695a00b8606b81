"""The smallest training there is, without a run around it: begun, gone on with, and what comes out of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from mam.evaluation.language import settled
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for
from mam.files import sha256_file, write_json
from mam.training.folds import folds
from mam.training.sealing import last_whole
from mam.training.train import train
from support.audio import write_folder
from support.kills import digest
from support.runs import jobs, pair_words

STEPS = 4
QUICK = [f"train.steps={STEPS}", "train.evaluate_every=1", "train.log_every=1", "train.batch_size=2"]


class Training:
    """L-MAM on four clips, a checkpoint a step. What comes of a folder is computed once for each state of it."""

    def __init__(self, target: Path, source: Path, root: Path) -> None:
        data = write_folder(root / "data", [0.6, 0.7, 0.6, 0.7, 0.6, 0.7], split=["train"] * 4 + ["dev", "test"])
        self.words = [*pair_words(target, source), "data=audiofolder", f"data.root={data}", *QUICK, "threads=1"]
        self.words += ["train=lmam", "lam=0.3", "train.patience=9"]
        self._bench = Workbench()
        self._config = settled(jobs(self.words)[0].config, self._bench).config
        self._plan = plan_for(self._config, self._bench.pair(self._config), self._config.lam)
        (self._split,) = folds(self._config, self._bench)
        self._outcomes: dict[str, dict[str, Any]] = {}

    def go_on(self, folder: Path) -> dict[str, Any]:
        """Train in a folder until the end; weights as a hash, everything else as it is."""
        parents = self._bench.parents(self._config)
        finished = train(self._config, self._bench, parents, self._plan, self._split, [], folder)
        state = hashlib.sha256()
        for name, tensor in sorted(finished.target.model.state_dict().items()):
            state.update(name.encode() + tensor.numpy().tobytes())
        shown = {
            key: getattr(finished, key) for key in ("dev", "test", "history", "lams", "lams_by_source", "best_step")
        }
        logs = folder.with_name(f"{folder.name}.metrics.jsonl").read_text().splitlines()
        logged = [entry for entry in map(json.loads, logs) if "train_runtime" not in entry]
        return {"weights": state.hexdigest(), "logged": logged} | shown

    def outcome(self, folder: Path, said: list[str]) -> dict[str, Any]:
        """What comes of a folder: `go_on`, which is computed once for each set of checkpoints that are gone on from.

        The training reads nothing else; `test_every_state_without_exception` computes all of them.
        """
        last_whole(folder, said.append)
        state = digest(folder, hidden=False) if folder.is_dir() else "nothing"
        if state not in self._outcomes:
            self._outcomes[state] = self.go_on(folder)
        return self._outcomes[state]


def copied(folder: Path, to: Path) -> Path:
    """A copy of an unfinished training."""
    return Path(shutil.copytree(folder, to, symlinks=True))


def resealed(checkpoint: Path) -> None:
    """Seal a checkpoint as it is now."""
    hashes = {path.name: sha256_file(path) for path in checkpoint.iterdir() if path.name != "seal.json"}
    write_json(checkpoint / "seal.json", hashes)


def changed(path: Path, entries: dict[str, Any]) -> None:
    """Set entries of a trainer's state, or of one of its callbacks."""
    state = json.loads(path.read_text())
    for key, value in entries.items():
        if key in state["stateful_callbacks"]:
            (kind, inner), *_ = value.items()
            state["stateful_callbacks"][key][kind] |= inner
        else:
            state[key] = value
    path.write_text(json.dumps(state))
