"""Write the tables in README.md and docs/ from the registries and conf/, so that they cannot lie.

    python scripts/tables.py          # rewrite what stands between the markers
    python scripts/tables.py --check  # exit with 1 where a file is out of date

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from omegaconf import OmegaConf

import mam.data  # noqa: F401  # fill the registry of formats
from mam.config.reference import key_docs
from mam.config.schema import Config
from mam.config.search import FILE_GROUPS
from mam.config.training import TrainConfig
from mam.merging.schedules import SCHEDULES
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS, PROJECTS
from mam.models.families import TARGETS
from mam.models.sources import SOURCES
from mam.records.validity import schema
from mam.scoring.coverage import lost_letters
from mam.scoring.text import NORMALIZERS, normalizer_for

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "mam" / "records" / "result.schema.json"
FILES = (
    ROOT / "README.md",
    ROOT / "docs" / "normalizers.md",
    ROOT / "docs" / "method.md",
    ROOT / "docs" / "rivals.md",
    ROOT / "docs" / "training.md",
    ROOT / "docs" / "configuration.md",
)
SENTENCES = (
    "It's twenty-one, Mr. O'Neil!",
    "Müller paid $1,234.56.",
    "on the 21st of May 1862",
    "in the 1960s, or 2005",
    "J. R. R. Tolkien's colour",
    "3.5 percent of £20 million",
    "He can't; I won't.",
    "Um, well [coughs] yes (really)",
    "agent 007 at five o'clock",
    "naïve café — “quoted”",
)

SAID = (
    ("de", "Am 3. Mai: Straße, 1.234,5 km"),
    ("fr", "L’hôtel coûte 1\u202f200 €"),
    ("tr", "IŞIK, İzmir"),
    ("ru", "Привет, world! 21"),
    ("he", 'צה"ל, שָׁלוֹם'),
    ("fa", "می\u200cخواهم ۲۱"),
    ("hi", "नमस्ते, १२३ लोग"),
    ("ta", "வணக்கம் உலகம்"),
    ("th", "น้ำ ๓ แก้ว"),
    ("ko", "안녕하세요, 3명"),
    ("ja", "５月、良い天気"),
    ("vi", "Tiếng Việt (số 5)"),
    ("yo", "Ẹ̀kọ́ Yorùbá"),
    (None, "İstanbul 1,234,567 3.5"),
)


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(heading: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    return "\n".join([row(*heading), "|" + "---|" * len(heading), *(row(*cells) for cells in rows)])


def configs(group: str) -> list[tuple[str, str, dict]]:
    """Name, the comment it opens with, and content of every file of a group; a shared file's own section of it."""
    made = []
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        comment = next((line for line in path.read_text().splitlines() if re.match(r"# (?!@)", line)), "# ")
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        made.append((path.stem, comment[2:], content.get(group, content)))
    return made


def models() -> str:
    """Every ``model=``."""
    rows = []
    for name, comment, config in configs("model"):
        shape = config["target_shape"]
        size = f"{shape['layers']} × {shape['width']}, {shape['heads']} heads"
        rows.append([f"`{name}`", f"`{config['target']}`", f"`{config['source']}`", size, comment])
    return table(["`model=`", "target", "source", "size of the target", ""], rows)


def data() -> str:
    """Every ``data=``."""
    return table(["`data=`", "what it reads"], [[f"`{name}`", comment] for name, comment, _ in configs("data")])


def targets() -> str:
    """Every architecture that can be a target."""
    rows = [
        [
            f"`{name}`",
            "speech, sounds" if "text" in family.readouts else "sounds",
            (family.__doc__ or "").splitlines()[0],
        ]
        for name, family in sorted(TARGETS.items())
    ]
    return table(["`model_type`", "for", "target"], rows)


def sources() -> str:
    """Every architecture that can be a source, by modality."""
    modalities = dict.fromkeys(family.modality for family in SOURCES.values())
    rows = []
    for modality in modalities:
        names = sorted(name for name, family in SOURCES.items() if family.modality == modality)
        rows.append([modality, ", ".join(f"`{name}`" for name in names)])
    return table(["modality", "`model_type` of the source"], rows)


def normalizers() -> str:
    """What each normalizer makes of ten sentences."""
    names = [name for name in NORMALIZERS if name != "none"]
    rows = [[sentence, *(NORMALIZERS[name](sentence) for name in names)] for sentence in SENTENCES]
    return table(["`none`", *(f"`{name}`" for name in names)], rows)


def languages() -> str:
    """What becomes of other languages than English, and what the other normalizers lose of them."""
    others = ("basic", "hubert_english")
    rows = []
    for language, sentence in SAID:
        lost = [f"{100 * lost_letters([sentence], NORMALIZERS[name]):.0f} %" for name in others]
        made = [normalizer_for(name, language)(sentence) for name in ("multilingual", "basic")]
        rows.append([language or "unknown", sentence, *made, *lost])
    heading = ["language", "`none`", "`multilingual`", "`basic`", *(f"lost by `{name}`" for name in others)]
    return table(heading, rows)


def keys() -> str:
    """Every key that has no group of files."""
    apart = ("model.", "data.", "schedule.", "layers.", "method.", "train.", "tune.", "study.")
    return documented(Config, leaving_out=apart)


def documented(kind: type, prefix: str = "", leaving_out: tuple[str, ...] = ()) -> str:
    """Keys, defaults and meanings of a dataclass of the schema."""
    docs = [one for one in key_docs(kind, prefix) if not one.key.startswith(leaving_out or ("-",))]
    rows = [[f"`{one.key}`", f"`{one.default}`" if one.default else "", one.meaning] for one in docs]
    return table(["key", "default", ""], rows)


def groups() -> str:
    """Every choice of every group, by the comment that its file opens with."""
    rows = []
    for group in FILE_GROUPS:
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            found = re.search(r"(?:^|  )# (?!@)(.+)$", path.read_text(), re.MULTILINE)
            rows.append([f"`{group}={path.stem}`", found[1] if found else ""])
    return table(["choice", ""], rows)


def training() -> str:
    """Every ``train.`` key."""
    return documented(TrainConfig, "train.")


def controls() -> str:
    """Every ``control=``."""
    return table(["`control=`", ""], [[f"`{name}`", control.summary] for name, control in CONTROLS.items()])


def methods() -> str:
    """Every ``method=``."""
    return table(["`method=`", ""], [[f"`{name}`", method.summary] for name, method in METHODS.items()])


def alignments() -> str:
    """Every ``align=``."""
    return table(["`align=`", ""], [[f"`{name}`", alignment.summary] for name, alignment in ALIGNMENTS.items()])


def projects() -> str:
    """Every ``project=``."""
    rows = [[f"`{name}`", summary] for name, summary in PROJECTS.items()]
    return table(["`project=`", ""], rows)


def schedules() -> str:
    """Every ``schedule=`` in one line."""
    return table(
        ["`schedule=`", ""],
        [[f"`{name}`", entry.summary] for name, entry in SCHEDULES.items()],
    )


TABLES = {
    "controls": controls,
    "schedules": schedules,
    "methods": methods,
    "alignments": alignments,
    "projects": projects,
    "keys": keys,
    "groups": groups,
    "training": training,
    "models": models,
    "data": data,
    "targets": targets,
    "sources": sources,
    "normalizers": normalizers,
    "languages": languages,
}


def rewritten(text: str) -> str:
    """``text`` with every table made anew."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?(<!-- end -->)", fill, text, flags=re.DOTALL)


def schema_text() -> str:
    """The JSON schema of result.json, from its types."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Rewrite or check the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    outdated = [path for path in FILES if rewritten(path.read_text()) != path.read_text()]
    for path in outdated:
        print(f"{path.relative_to(ROOT)}: {'is out of date, run scripts/tables.py' if check else 'rewritten'}")
        if not check:
            path.write_text(rewritten(path.read_text()))
    is_outdated = SCHEMA.read_text() != schema_text()
    if is_outdated:
        print(f"{SCHEMA.relative_to(ROOT)}: {'is out of date, run scripts/tables.py' if check else 'rewritten'}")
        if not check:
            SCHEMA.write_text(schema_text())
    sys.exit(1 if check and (outdated or is_outdated) else 0)


if __name__ == "__main__":
    main()
