"""Runs `mam run` and writes down what each process sees: gradients before every update, λ after it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from mam import processes
from mam.cli import main
from mam.training.trainer import _Look

seen = []
before, after = _Look.on_pre_optimizer_step, _Look.on_step_end


def spy_gradients(self, args, state, control, **kwargs):
    before(self, args, state, control, **kwargs)
    named = self._learner.named_parameters()
    seen.append({name: p.grad.clone() for name, p in named if p.grad is not None})


def spy_lambda(self, args, state, control, **kwargs):
    after(self, args, state, control, **kwargs)
    seen[-1]["λ"] = self._learner.lambdas.values.detach().clone()


_Look.on_pre_optimizer_step, _Look.on_step_end = spy_gradients, spy_lambda
folder = Path(sys.argv[1])
sys.argv = ["mam", "run", *sys.argv[2:]]
try:
    main()
finally:
    torch.save(seen, folder / f"seen-{processes.count()}-{processes.rank()}.pt")
