"""No file is too long; which package imports from which is checked by `lint-imports`."""

from pathlib import Path

import mam

ROOT = Path(mam.__file__).parent


def test_no_file_is_longer_than_three_hundred_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long
