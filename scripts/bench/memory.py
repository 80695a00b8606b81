"""Peak memory of a run on 20,000 and 100,000 recordings of 0.1 s, the demo pair, with little memory for audio.

    python scripts/bench/memory.py

What a recording takes is the difference of the two peaks. Each run is a process of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

COUNTS = (20_000, 100_000)


def write_recordings(root: Path, count: int) -> None:
    """An audiofolder of as many copies of one recording, each with a text of its own."""
    root.mkdir()
    one = root / "one.wav"
    soundfile.write(one, 0.1 * np.random.default_rng(0).standard_normal(1_600), 16_000)
    content = one.read_bytes()
    one.unlink()
    lines = ["file_name,transcription"]
    for i in range(count):
        (root / f"{i:06}.wav").write_bytes(content)
        lines.append(f"{i:06}.wav,word number {i}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 1:
        subprocess.run([sys.executable, "-m", "mam", *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
        return
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"HF_HUB_OFFLINE": "1", "MAM_CACHE": f"{name}/cache"}
        for count in COUNTS:
            root = Path(name) / f"recordings{count}"
            write_recordings(root, count)
            words = ["run", "data=audiofolder", f"data.root={root}", "data.split=all", "lam=0.1", f"outputs={name}/out"]
            measured = subprocess.run(
                [sys.executable, __file__, *words, "evaluate.memory_gb=0.001"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
                text=True,
            )
            peaks.append(float(measured.stdout.split()[-1]))
            print(f"{count:,} recordings: {peaks[-1]:.0f} MB at its peak" + " (aim 700)" * (count == COUNTS[-1]))
    print(f"  {1024 * (peaks[1] - peaks[0]) / (COUNTS[1] - COUNTS[0]):.2f} kB a recording (aim 1)")


if __name__ == "__main__":
    main()
