"""Runs that made the same merge, which a table shows once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mam.files import sha256_json
from mam.records.reading import sources_of


def same_merges(results: Sequence[Mapping[str, Any]]) -> dict[int, list[int]]:
    """Return the position of the first run of every merge, with the positions of others that made the same one.

    λ=0.1 as given and λ=0.1 as chosen on dev are one merge: it stands in a table once, and counts once for Holm.
    """
    first: dict[str, int] = {}
    found: dict[int, list[int]] = {}
    for i, result in enumerate(results):
        position = first.setdefault(merge_key(result), i)
        others = found.setdefault(position, [])
        if position != i:
            others.append(i)
    return found


def merge_key(result: Mapping[str, Any]) -> str:
    """Return a key that is equal for runs whose merged models, data and tests are the same; of a training, its hash."""
    if result["train"]:
        return str(result["hash"])
    models, data, delta, env = result["model"], result["data"], result["delta"], result["env"]
    merge = {key: value for key, value in result["merge"].items() if key != "notes"}
    chosen = [one.get("lams", one["lam"]) for one in result["tune"]["chosen"]] if is_by_fold(result) else None
    head = result.get("head") or {}
    decoder = models.get("decoder") or {}
    told = [decoder.get(key) for key in ("language", "task", "prompt")]
    made_of = [models["name"], models["target"]["sha256"], models["source"]["sha256"], told, merge, chosen]
    heard = [data.get(key) for key in ("name", "split", "sha256", "n", "language", "normalizer", "metric")]
    judged = [head.get("name"), [one["fold"] for one in head.get("folds", [])]]
    tested = [delta.get(key) for key in ("unit", "clusters", "interval", "p_value", "absolute")]
    made_by = [env.get(key) for key in ("device", "dtype", "torch", "transformers")]
    return sha256_json([made_of, heard, judged, tested, made_by, sources_of(result), result["seeds"]])


def is_by_fold(result: Mapping[str, Any]) -> bool:
    """Tell whether each test fold has a λ of its own."""
    return len({str(one.get("lams", one["lam"])) for one in (result["tune"] or {}).get("chosen", [])}) > 1
