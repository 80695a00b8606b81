"""`import mam` with odd arguments: only MamError, or a TypeError that mam itself or the call raises."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.torture.cases import Bad
from scripts.torture.words import IRREGULAR
from scripts.torture.world import Place

# What a stranger's program sees; a refusal is printed as the command line would.
FRAME = """
import pathlib, sys, traceback
import torch
import transformers
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
import mam
import mam_demo
from mam.errors import MamError
assets = pathlib.Path(mam_demo.__file__).parent
run = pathlib.Path({run!r})
def pair():
    from transformers import AutoModel, AutoModelForCTC
    return (AutoModelForCTC.from_pretrained(assets / "demo_hubert", dtype=torch.float32),
            AutoModel.from_pretrained(assets / "demo_bert", dtype=torch.float32))
try:
    {act}
except MamError as error:
    print("mam: " + str(error), file=sys.stderr)
    sys.exit(1)
except TypeError as error:
    places = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    inside = [place for place in places if "/mam/" in place]
    if inside and "/mam/interface/" not in inside[-1] or not str(error):
        raise
    print("TypeError: " + str(error), file=sys.stderr)
    sys.exit(1)
"""
VALUES = (
    "None",
    "1",
    "-1",
    "2**70",
    "1e999",
    "float('nan')",
    "'x'",
    "b'x'",
    "''",
    "'\\x1b[31m'",
    "'\\ud800'",
    "object()",
    "[]",
    "{}",
    "[[[]]]",
    "{1: 2}",
    "{'': {}}",
    "lambda: 1",
    "range(10**9)",
    "torch.zeros(2)",
    "pathlib.Path('/dev/zero')",
    "'a' * 100000",
    "True",
    "(1, 2)",
    "{'a.b': 1}",
    "float",
)
RUN_KEYS = (
    "lam",
    "model",
    "data",
    "layers",
    "seed",
    "outputs",
    "plugins",
    "config_dir",
    "nothing",
    "force",
    "experiment",
    "study",
    "train",
)
MERGE_KEYS = (
    "lam",
    "layers",
    "parts",
    "bias",
    "heads",
    "method",
    "schedule",
    "pairing",
    "align",
    "on_mismatch",
    "project",
    "control",
    "seed",
    "copy",
    "plugins",
    "nothing",
)


def _calls() -> Iterator[tuple[str, bool]]:
    """Yield calls, each with whether it may succeed."""
    for number, key in enumerate(RUN_KEYS):
        for step in range(4):
            value = VALUES[(number * 7 + step * 5) % len(VALUES)]
            yield f"mam.run(**{{'data.limit': 2, {key!r}: {value}}})", True
            if step < 2:
                yield f"mam.sweep(**{{'data.limit': 2, 'lam': [0.1], {key!r}: {value}}})", True
    for number, value in enumerate(VALUES):
        yield f"mam.run({value})", value in ("''",)
        yield f"mam.load_result({value})", False
        yield f"mam.results({value})", True
        yield f"mam.results(plugins={value})", True
        yield f"mam.load_result(run, plugins={value})", value in ("[]", "{}", "''")
        yield f"mam.merge(pair()[0], {value})", False
        yield f"mam.merge({value}, pair()[1])", False
        yield f"mam.unmerge({value})", False
        yield f"mam.learnable(pair()[0], {value})", False
        yield f"mam.learnable({value}, pair()[1])", False
        yield f"mam.merged({value}, pair()[1]).__enter__()", False
        for step in range(1 + number % 2):
            key = MERGE_KEYS[(number * 5 + step * 3) % len(MERGE_KEYS)]
            yield f"mam.merge(*pair(), **{{'lam': 0.1, {key!r}: {value}}})", True
            yield f"mam.learnable(*pair(), **{{{key!r}: {value}}})", True
    yield "mam.run(1, 2, 3)", False
    yield "mam.run('lam=0.1', lam=0.2)", True
    yield "mam.run('--multirun')", False
    yield "mam.run('--help')", False
    yield "mam.run('--cfg', 'job')", False
    yield "mam.run('experiment=controls')", False
    yield "mam.sweep()", True
    yield "mam.sweep(lam=[])", False
    yield "mam.sweep(lam=['x', 0.1])", False
    yield "mam.merge()", False
    yield "mam.merge(*pair())", True
    yield "mam.unmerge(pair()[0])", False
    yield "a, b = pair(); mam.merge(a, a, lam=0.1)", True
    yield "a, b = pair(); mam.merge(b, a, lam=0.1)", True
    yield "a, b = pair(); mam.merge(a, b, lam=0.1); mam.merge(a, b, lam=0.1)", True
    yield "a, b = pair(); mam.merge(a, b, lam=0.1); mam.unmerge(a); mam.unmerge(a)", False
    yield "a, b = pair(); mam.merge(a.half(), b, lam=0.1)", True
    yield "a, b = pair(); mam.merge(a.to('meta'), b, lam=0.1)", False
    yield "a, b = pair(); mam.merge(a, b.to('meta'), lam=0.1)", False
    yield "a, b = pair(); mam.merge(torch.nn.Linear(2, 2), b, lam=0.1)", False
    yield "a, b = pair(); mam.merge(torch.nn.Sequential(), b, lam=0.1)", False
    yield "mam.nothing", False
    yield "list(mam.results('/nothing').columns)", True


def rows() -> list[Bad]:
    """Return the whole table."""
    made: dict[str, Bad] = {}

    def prepare(place: Place) -> None:
        place.copy(place.world.a_run(), "run")

    for call, passes in _calls():
        if call == "mam.nothing":
            continue
        code = FRAME.replace("{act}", call).replace("{run!r}", "'{in}/run'")
        made[call] = Bad(call, code=code, prepare=prepare, may_pass=passes, changing=("{work}", "{home}"))
    for what, make in IRREGULAR.items():

        def odd(place: Place, make=make) -> None:  # type: ignore[no-untyped-def]
            place.copy(place.world.a_run(), "run")
            make(place.inputs / "odd")

        for call in (
            "mam.load_result('{in}/odd')",
            "mam.results('{in}/odd')",
            "mam.merge('{in}/odd', pair()[1], lam=0.1)",
            "mam.run(data={'root': '{in}/odd'})",
            "mam.run(cache_dir='{in}/odd')",
        ):
            code = FRAME.replace("{act}", call).replace("{run!r}", "'{in}/run'")
            fine = "results" in call or "cache_dir" in call
            made[f"{call} is {what}"] = Bad(
                f"{call} is {what}", code=code, prepare=odd, may_pass=fine, changing=("{in}/odd",)
            )
    return list(made.values())
