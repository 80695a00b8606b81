"""Runs that made the same merge, which a table shows once."""

from __future__ import annotations

from collections.abc import Sequence

from mam.files import sha256_json
from mam.merging.options import unresolved
from mam.records.result import RunResult, plain

NOT_THE_MERGE = ("notes", "asked")  # a given λ and the same λ chosen on dev make the same merge


def same_merges(results: Sequence[RunResult]) -> dict[int, list[int]]:
    """Return the position of the first run of every merge, with the positions of others that made the same one.

    λ=0.1 as given and λ=0.1 as chosen on dev are one merge: one row in a table, and one test for Holm.
    """
    first: dict[str, int] = {}
    positions: dict[int, list[int]] = {}
    for i, result in enumerate(results):
        position = first.setdefault(merge_key(result), i)
        others = positions.setdefault(position, [])
        if position != i:
            others.append(i)
    return positions


def merge_key(result: RunResult) -> str:
    """Return a key that is equal for runs with the same merged model, data and test; for a training, its hash."""
    if result.train:
        return result.hash
    model, data, delta, env = result.model, result.data, result.delta, result.env
    merge = {key: value for key, value in plain(result.merge).items() if key not in NOT_THE_MERGE}
    options = {} if result.merge.asked is None else unresolved(result.merge.asked)
    chosen = [choice.value for choice in result.tune.chosen] if result.is_by_fold and result.tune else None
    decoder = None if model.decoder is None else [model.decoder.language, model.decoder.task, model.decoder.prompt]
    head = None if result.head is None else [result.head.name, [probe.fold for probe in result.head.folds]]
    hashes = [checkpoint.sha256 for checkpoint in model.parents.values()]
    made_of = [model.name, *hashes, decoder, merge, options, chosen]
    tested_on = [data.name, data.split, data.sha256, data.n, data.language, data.normalizer, data.metric, head]
    compared = [delta.unit, delta.clusters, delta.interval, delta.p_value, delta.absolute]
    made_by = [env.device, env.dtype, env.torch, env.transformers, result.code, plain(result.seeds)]
    return sha256_json([made_of, tested_on, compared, made_by])
