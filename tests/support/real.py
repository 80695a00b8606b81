"""Where real weights, recordings and reference values lie."""

from __future__ import annotations

import os
from pathlib import Path

BESIDE = Path(__file__).parents[3] / "shared"
REAL = Path(os.environ.get("MAM_REAL", BESIDE / "real"))
MORE = Path(os.environ.get("MAM_REAL_MORE", BESIDE / "more"))
VECTORS = Path(os.environ.get("MAM_VECTORS", BESIDE / "vectors"))
