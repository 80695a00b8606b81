"""What can be chosen: models, data, targets, sources, controls, methods and the rest."""

from __future__ import annotations

import inspect
import re

from omegaconf import OmegaConf

import mam.data  # noqa: F401  # fill the registry of formats
from mam.config.search import FILE_GROUPS
from mam.merging.schedules import SCHEDULES
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS, PROJECTS
from mam.models.families import TARGETS
from mam.models.sources import SOURCES
from scripts.reference.markdown import ROOT, table


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
        target, source = (re.sub(r"\$\{oc\.env:(\w+),\w+\}", r"$\1", config[side]) for side in ("target", "source"))
        rows.append([f"`{name}`", f"`{target}`", f"`{source}`", size, comment.replace(" <- ", " ← ")])
    return table(["`model=`", "target", "source", "size of the target", ""], rows)


def data() -> str:
    """Every ``data=``."""
    return table(["`data=`", "what it reads"], [[f"`{name}`", comment] for name, comment, _ in configs("data")])


def experiments() -> str:
    """Every ``experiment=``, by the whole comment that its file opens with."""
    rows = []
    for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml")):
        lines = path.read_text().splitlines()
        opening = [line for line in lines if line != "# @package _global_"]
        comment = []
        for line in opening:
            if not line.startswith("# "):
                break
            comment.append(line[2:].strip())
        rows.append([f"`{path.stem}`", " ".join(comment)])
    return table(["`experiment=`", "what it runs"], rows)


def targets() -> str:
    """Every architecture that can be a target."""
    rows = []
    for name, family in sorted(TARGETS.items()):
        use = "speech, sounds" if "text" in family.readouts else "sounds"
        rows.append([f"`{name}`", use, inspect.getdoc(family).splitlines()[0]])
    return table(["`model_type`", "for", "target"], rows)


def sources() -> str:
    """Every architecture that can be a source, by modality."""
    modalities = dict.fromkeys(family.modality for family in SOURCES.values())
    rows = []
    for modality in modalities:
        names = sorted(name for name, family in SOURCES.items() if family.modality == modality)
        rows.append([modality, ", ".join(f"`{name}`" for name in names)])
    return table(["modality", "`model_type` of the source"], rows)


def groups() -> str:
    """Every choice of every group, by the comment that its file opens with."""
    rows = []
    for group in FILE_GROUPS:
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            found = re.search(r"(?:^|  )# (?!@)(.+)$", path.read_text(), re.MULTILINE)
            rows.append([f"`{group}={path.stem}`", found[1] if found else ""])
    return table(["choice", ""], rows)


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
    return table(["`project=`", ""], [[f"`{name}`", summary] for name, summary in PROJECTS.items()])


def schedules() -> str:
    """Every ``schedule=`` in one line."""
    return table(["`schedule=`", ""], [[f"`{name}`", entry.summary] for name, entry in SCHEDULES.items()])
