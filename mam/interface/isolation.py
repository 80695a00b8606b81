"""Leaving a notebook as it was: nothing is printed, and no setting of a library stays changed."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import datasets
import numpy as np
import torch
import transformers

from mam.extensions import blaming
from mam.terminal import quiet_libraries

HF_LOGGING = transformers.utils.logging


@contextmanager
def isolated() -> Iterator[None]:
    """Let nothing be printed, and restore logging, random states and torch's settings; plug-ins raise MamError."""
    with ExitStack() as stack:
        stack.enter_context(blaming())
        stack.enter_context(_silent())
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        if torch.cuda.is_initialized():  # asking earlier would occupy every GPU
            stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
        for name in ("benchmark", "allow_tf32"):
            stack.callback(setattr, torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
        yield


@contextmanager
def _silent() -> Iterator[None]:
    """Send the messages of libraries to the log of a run only, and restore who prints them afterwards."""
    root, library = logging.getLogger(), logging.getLogger("transformers")
    handlers = [*root.handlers, *library.handlers, *logging.getLogger("datasets").handlers]
    level, last_resort = root.level, logging.lastResort
    had_handlers, did_propagate = list(library.handlers), library.propagate
    is_captured = logging._warnings_showwarning is not None  # type: ignore[attr-defined]
    shows_bars = HF_LOGGING.is_progress_bar_enabled(), not datasets.utils.are_progress_bars_disabled()

    def nothing(record: logging.LogRecord) -> bool:
        return False

    for handler in handlers:
        handler.addFilter(nothing)
    quiet_libraries()
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(nothing)
        root.setLevel(level)
        logging.lastResort = last_resort
        logging.captureWarnings(is_captured)
        library.handlers[:], library.propagate = had_handlers, did_propagate
        if shows_bars[0]:
            HF_LOGGING.enable_progress_bar()  # type: ignore[no-untyped-call]
        if shows_bars[1]:
            datasets.enable_progress_bars()
