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

from mam.errors import MamError, in_words
from mam.extensions import blaming
from mam.libraries import CHATTY, quiet_libraries

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
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # asking earlier would occupy every GPU
            stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        is_deterministic = torch.are_deterministic_algorithms_enabled()
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        stack.callback(torch.use_deterministic_algorithms, is_deterministic, warn_only=warns)
        for name in ("benchmark", "allow_tf32"):
            stack.callback(setattr, torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
        try:
            yield
        except OSError as error:
            raise MamError(in_words(error)) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Send the messages of libraries to the log of a run only, and restore who prints them afterwards."""
    loggers = [logging.getLogger(name) for name in (None, "transformers", "datasets", *CHATTY)]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    handlers = [handler for logger in loggers for handler in logger.handlers]
    last_resort = logging.lastResort
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
        for logger, level, propagate, own in before:
            logger.setLevel(level)
            logger.propagate, logger.handlers[:] = propagate, own
        logging.lastResort = last_resort
        logging.captureWarnings(is_captured)
        if shows_bars[0]:
            HF_LOGGING.enable_progress_bar()  # type: ignore[no-untyped-call]
        if shows_bars[1]:
            datasets.enable_progress_bars()
