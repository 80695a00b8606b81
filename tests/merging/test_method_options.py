"""Options of methods: what a method cannot do is refused, and what it reads counts."""

from __future__ import annotations

import re

import pytest
from support.plugins import forget_plugins
from support.runs import jobs

from mam.errors import ConfigError
from mam.merging.methods import LayerSide, layer_method
from mam.merging.tables import METHODS

LINEAR = re.escape(METHODS["linear"].summary.rstrip("."))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method.name=soup"], f"method.name=soup: not known. Choose one of:\n      linear +{LINEAR}(.|\n)*qk_product"),
        (["method=soup"], r"method=soup: not known. Choose one of:\n(.|\n)*slerp +spherical"),
        (
            ["method=regmean"],
            "method=regmean: needs inputs for the source, to measure its activations",
        ),
        (["method.alpha=0.5"], "method.alpha: has no effect without method=regmean"),
        (["calibration.limit=3"], "calibration.limit: has no effect without method=regmean or align=procrustes_act"),
        (["method=regmean", "calibration.source=x", "method.alpha=2"], "method.alpha=2.0: must be from 0 to 1"),
        (["method=regmean", "calibration.source=x", "calibration.limit=0"], "limit=0: must be from 1"),
        (
            ["method=qk_product", "parts=qv"],
            "merges Q and K together, but parts=qv control=none leaves one of them out",
        ),
        (["method=qk_product", "control=shrink_v"], "control=shrink_v leaves one of them out"),
        (["method=qk_product", "bias=false"], "changes the basis of Q and K, so the target's biases cannot be kept"),
        (
            ["method=slerp", "train=lmam"],
            "method=slerp: its λ cannot be learnt with train=lmam. Set method=linear or",
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused_with_the_reason(words, message):
    with pytest.raises(ConfigError, match=message):
        jobs(words)


def test_the_parameters_that_a_method_of_ones_own_reads_count():
    """They can be set, they identify the run, and others have no effect."""

    def scaled(target: LayerSide, source: LayerSide, lam: float) -> dict:
        """The source times a factor."""
        factor = lam * target.options.scale
        return {part: (own[0] + factor * source.parts[part][0], own[1]) for part, own in target.parts.items()}

    with pytest.raises(ConfigError, match="layer_method: scales in reads= are not keys of method"):
        layer_method(reads=["scales"])
    layer_method(reads=["scale"])(scaled)
    try:
        one, other = (jobs(["method.name=scaled", f"method.scale={scale}"])[0] for scale in (1, 2))
        assert one.resolved["method"] == {"name": "scaled", "scale": 1.0} and one.signature != other.signature
        with pytest.raises(ConfigError, match="method.alpha: has no effect without method=regmean"):
            jobs(["method.name=scaled", "method.alpha=0.5"])
    finally:
        forget_plugins()
