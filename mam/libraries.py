"""Large libraries: they print and draw bars unless told otherwise, and are told when they are imported."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

CHATTY = ("httpx", "httpx2", "filelock", "fsspec", "matplotlib")  # libraries that log every request, lock or font


def quiet_libraries() -> None:
    """Redirect the libraries' warnings to Python's logging (and so to mam.log) and turn off their progress bars.

    Nothing is imported: a library that is not needed costs nothing.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger().addHandler(logging.NullHandler())  # without any handler, logging prints warnings itself
    logging.captureWarnings(True)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)
    when_imported("transformers", _quiet_transformers)
    when_imported("datasets", _quiet_datasets)


def when_imported(name: str, action: Callable[[], None]) -> None:
    """Call ``action`` once the module is imported; at once if it is already."""
    if name in sys.modules:
        action()
    else:
        _waiting[name] = action
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def _quiet_transformers() -> None:
    import transformers

    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _quiet_datasets() -> None:
    import datasets

    logging.getLogger("datasets").handlers.clear()
    datasets.utils.logging.enable_propagation()
    datasets.disable_progress_bars()


class _Finder(MetaPathFinder):
    """Finds a module as the others do, and has its action called behind its own code."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        action = _waiting.pop(fullname, None)
        spec = None if action is None else importlib.util.find_spec(fullname)
        if action is None or spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_then_act(module: ModuleType) -> None:
            run(module)
            action()

        spec.loader.exec_module = run_then_act  # type: ignore[method-assign]
        return spec


_waiting: dict[str, Callable[[], None]] = {}
_finder = _Finder()
