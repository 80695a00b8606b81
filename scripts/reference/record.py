"""The format of `result.json`: its JSON schema as text, and the same as tables for people."""

from __future__ import annotations

import json
import re
from typing import Any

from mam.records.validity import schema
from scripts.reference.markdown import table

# What the fields at the top hold; the schema says what their parts are.
TOP = {
    "schema": "version of this format",
    "signature": "eight digits of the configuration's hash, as in the folder's name",
    "hash": "hash of configuration, data, checkpoints, mam's sources, device type and dtype; a finished run with the"
    " same hash is not repeated",
    "status": "only finished runs have the file",
    "command": "the command that makes this run",
    "task": "speech recognition (`asr`) or audio events",
    "model": "target, source, and the prompt of Whisper's decoder",
    "data": "data set, split, number of examples, hash, what was skipped",
    "merge": "what was merged with what, and λ of every target layer",
    "train": "the fine-tuning; null without one",
    "tune": "the choice of λ on dev; null if λ was given",
    "metrics": "rates of the merged target",
    "baseline": "rates of the baseline: the unmerged target or, of a training, regular fine-tuning if it has been run",
    "delta": "merged minus baseline, with interval and test",
    "diagnostics": "what the run found odd about itself, in sentences",
    "timing": "seconds",
    "env": "versions, device, dtype, threads",
    "seeds": "seeds",
    "head": "where the classes of audio events come from",
    "dev": "the rate on dev, in sweeps over λ",
    "remarks": "the diagnostics that do not follow from the predictions",
    "scored": "in a file that `mam score` wrote: the code that scored",
    "extensions": "your configurations and plug-ins that were in use",
    "groups": "rates by the columns of `evaluate.by`",
}


def record() -> str:
    """Every part of `result.json`: its fields and their types."""
    made = schema()
    parts = made["$defs"]
    names = ["RunResult", *_reached(made, parts)]
    return "\n\n".join(_part(name, made if name == "RunResult" else parts[name]) for name in names)


def _reached(top: dict[str, Any], parts: dict[str, Any]) -> list[str]:
    """The names of all parts, each after the first that holds it, level by level."""
    found: list[str] = []
    level = [top]
    while level:
        mentioned = dict.fromkeys(name for part in level for name in _mentions(part["properties"]))
        fresh = [name for name in mentioned if name not in found]
        found += fresh
        level = [parts[name] for name in fresh]
    return found


def _mentions(value: Any) -> list[str]:
    return re.findall(r'"#/\$defs/(\w+)"', json.dumps(value))


def _part(name: str, part: dict[str, Any]) -> str:
    said, meanings = _described(part.get("description", ""))
    if name == "Delta":
        meanings = _described(schema()["$defs"]["Difference"]["description"])[1]
    required = set(part.get("required", ()))
    if name == "RunResult":
        said, meanings = "", TOP
    rows = []
    for field, kind in part["properties"].items():
        absent = "" if field in required else " (may be absent)"
        rows.append([f"`{field}`", _type(kind) + absent, meanings.get(field, "")])
    with_meanings = any(cells[2] for cells in rows)
    heading = ["field", "type", *([""] if with_meanings else [])]
    title = "The whole file" if name == "RunResult" else name
    lines = [f"## {title}", said, table(heading, [cells[: len(heading)] for cells in rows])]
    return "\n\n".join(line for line in lines if line)


def _described(text: str) -> tuple[str, dict[str, str]]:
    """A docstring without reStructuredText: its sentences, and its attributes."""
    text = re.sub(r"\bNone\b", "null", re.sub(r"``(.+?)``", r"`\1`", text))
    said, _, attributes = text.partition("Attributes:")
    meanings = dict(re.findall(r"^\s*(\w+): (.+?)(?=\n\s*\w+: |\Z)", attributes, re.MULTILINE | re.DOTALL))
    return " ".join(said.split()), {key: " ".join(value.split()) for key, value in meanings.items()}


def _type(kind: dict[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "$ref" in kind:
        name = kind["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in kind:
        return f"`{json.dumps(kind['const'])}`"
    if "enum" in kind:
        return ", ".join(f"`{json.dumps(value)}`" for value in kind["enum"])
    if "anyOf" in kind:
        return " or ".join(dict.fromkeys(_type(one) for one in kind["anyOf"]))
    if kind.get("type") == "array":
        items = kind.get("prefixItems")
        inner = _type(items[0]) if items else _type(kind["items"]) if kind.get("items") else "anything"
        return f"list of {len(items)} ({inner})" if items else f"list ({inner})"
    if kind.get("type") == "object":
        values = kind.get("additionalProperties")
        return f"object, values: {_type(values)}" if isinstance(values, dict) and values else "object"
    return str(kind.get("type", "anything"))


def schema_text() -> str:
    """The JSON schema of result.json, from its types."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
