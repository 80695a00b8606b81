"""Write the tables in README.md and docs/ from the registries and conf/, so that they cannot lie.

    python scripts/tables.py          # rewrite what stands between the markers
    python scripts/tables.py --check  # exit with 1 where a file is out of date

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. ``<!-- table: keys data -->`` has the keys of
``data``.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.reference import choices, record, texts, words  # noqa: E402

SCHEMA = ROOT / "mam" / "records" / "result.schema.json"
TABLES = {
    "controls": choices.controls,
    "schedules": choices.schedules,
    "methods": choices.methods,
    "alignments": choices.alignments,
    "projects": choices.projects,
    "groups": choices.groups,
    "models": choices.models,
    "data": choices.data,
    "experiments": choices.experiments,
    "targets": choices.targets,
    "sources": choices.sources,
    "keys": words.keys,
    "training": words.training,
    "verbs": words.verbs,
    "normalizers": texts.normalizers,
    "languages": texts.languages,
    "record": record.record,
}
PLACE = re.compile(r"(<!-- table: (\w+)(?: (\w+))? -->)\n.*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The files that have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rewritten(text: str) -> str:
    """``text`` with every table made anew."""

    def fill(match: re.Match[str]) -> str:
        made = words.section(match[3]) if match[3] else TABLES[match[2]]()
        return f"{match[1]}\n{made}\n{match[4]}"

    return PLACE.sub(fill, text)


def main() -> None:
    """Rewrite or check the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = {path: rewritten(path.read_text()) for path in pages()} | {SCHEMA: record.schema_text()}
    outdated = [path for path, text in made.items() if text != path.read_text()]
    for path in outdated:
        print(f"{path.relative_to(ROOT)}: {'is out of date, run scripts/tables.py' if check else 'rewritten'}")
        if not check:
            path.write_text(made[path])
    sys.exit(1 if check and outdated else 0)


if __name__ == "__main__":
    main()
