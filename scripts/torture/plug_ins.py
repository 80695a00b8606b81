"""Plug-ins that cannot be loaded, and functions of plug-ins that return something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.torture.cases import Bad
from scripts.torture.words import IRREGULAR
from scripts.torture.world import QUICK, Place

PLUGINS: dict[str, str] = {
    "a syntax error": "def x(:\n",
    "an indentation error": "if 1:\nx\n",
    "a NUL": "x = '\0'\n",
    "an exit": "import sys\nsys.exit(0)\n",
    "an exit with text": "raise SystemExit('\\x1b[31mgone')\n",
    "an error": "raise RuntimeError('\\x1b[31mgone')\n",
    "an error of many lines": "raise RuntimeError('x\\n' * 100000)\n",
    "an interrupt": "raise KeyboardInterrupt\n",
    "no more memory": "raise MemoryError\n",
    "a closed pipe": "raise BrokenPipeError\n",
    "a generator exit": "raise GeneratorExit\n",
    "endless recursion": "def f(): f()\nf()\n",
    "an import of nothing": "import nothing_there_at_all\n",
    "an import of itself": "import mine\n",
    "a print": "print('x')\n",
    "nothing": "",
    "a method twice": "from mam.plugins import method\n@method\ndef mine(target, source, lam): return target\n"
    "@method\ndef mine(target, source, lam): return target\n",
    "a method of mam's name": "from mam.plugins import method\n@method\ndef linear(target, source, lam): return 1\n",
    "a method without arguments": "from mam.plugins import method\n@method\ndef mine(): return 1\n",
    "a method that is a number": "from mam.plugins import method\nmethod(3)\n",
    "another locale": "import locale\nlocale.setlocale(locale.LC_ALL, 'C')\n",
    "another folder": "import os\nos.chdir('/')\n",
    "another encoding": "# -*- coding: nothing -*-\n",
}
RETURNS = {
    "None": "None",
    "a number": "1.0",
    "a list": "[1]",
    "another shape": "target[:1]",
    "another dtype": "target.double()",
    "NaN": "target * float('nan')",
    "integers": "target.int()",
    "the meta device": "target.to('meta')",
    "a text": "'\\x1b[31m'",
    "an error": "(_ for _ in ()).throw(ValueError('\\x1b[31mbad'))",
    "an exit": "(_ for _ in ()).throw(SystemExit(0))",
    "a recursion": "mine(target, source, lam)",
    "an interrupt": "(_ for _ in ()).throw(KeyboardInterrupt())",
    "sparse": "target.to_sparse()",
    "complex": "target * 1j",
    "empty": "target[:0]",
    "an expanded one": "target[:1].expand_as(target)",
}


def of_plugins() -> Iterator[Bad]:
    """Yield plug-ins that cannot be loaded, and methods that return something else."""
    for what, text in PLUGINS.items():

        def prepare(place: Place, text: str = text) -> None:
            (place.inputs / "mine.py").write_text(text)

        fine = what in ("a print", "nothing", "another locale", "another folder")
        for words in (("run", *QUICK), ("list", "methods")):
            yield Bad(
                f"plug-in with {what} for {words[0]}",
                (*words, "plugins=[{in}/mine.py]"),
                prepare,
                names=("stopped",) if what == "an interrupt" else ("mine",),  # as if the user had pressed Ctrl-C
                may_pass=fine,
            )
    for what, value in RETURNS.items():

        def method(place: Place, value: str = value) -> None:
            code = f"from mam.plugins import method\n@method\ndef mine(target, source, lam):\n    return {value}\n"
            (place.inputs / "mine.py").write_text(code)

        asked = ("run", *QUICK, "plugins=[{in}/mine.py]", "method=mine", "lam=0.5")
        fine = what in ("another dtype", "an expanded one")
        names = ("stopped",) if what == "an interrupt" else ("mine",)
        yield Bad(f"method that returns {what}", asked, method, names=names, may_pass=fine)
    for what, make in IRREGULAR.items():

        def irregular(place: Place, make: Callable[[Path], object] = make) -> None:
            make(place.inputs / "mine.py")

        fine = what == "empty"
        yield Bad(
            f"plug-in is {what}", ("run", *QUICK, "plugins=[{in}/mine.py]"), irregular, names=("mine",), may_pass=fine
        )
    hooks = {
        "normalizer": (
            "normalizer",
            "def mine(text): return {value}",
            ("data.normalizer=mine",),
            ("None", "1", "['\\x1b']", "'\\ud800'", "text * 10000"),
        ),
        "schedule": (
            "schedule",
            "def mine(lam, depth, options): return {value}",
            ("schedule.name=mine",),
            ("None", "[]", "[float('nan')] * depth", "[9.0] * depth", "'x'"),
        ),
        "pairing": (
            "pairing",
            "def mine(target, source): return {value}",
            ("pairing=mine",),
            ("None", "[]", "[10**9] * 99", "['x']"),
        ),
        "control": (
            "control",
            "def mine(source, target, generator): return {value}",
            ("control=mine",),
            ("None", "source[:1]", "source * float('inf')"),
        ),
        "data format": (
            "data_format",
            "def mine(root): return {value}",
            ("data=audiofolder", "data.format=mine", "data.root={in}"),
            ("None", "[1]", "'x'"),
        ),
    }
    for kind, (decorator, shape, words_of, values) in hooks.items():
        for value in values:
            call = "('mine', download='x')" if decorator == "data_format" else ""

            def hook(place: Place, text: str = shape.format(value=value), use: str = decorator + call) -> None:
                name = use.partition("(")[0]
                (place.inputs / "mine.py").write_text(f"from mam.plugins import {name}\n@{use}\n{text}\n")

            using = ("run", *QUICK, "plugins=[{in}/mine.py]", *words_of)
            yield Bad(f"{kind} that returns {value}", using, hook, names=("mine",), may_pass=kind == "normalizer")


def rows() -> list[Bad]:
    """Return the whole table."""
    return list(of_plugins())
