"""A result in words: the models, the kind of merge, λ, the layers."""

from __future__ import annotations

from pathlib import PurePath

from mam.records.parts import DecoderRecord, MergeRecord
from mam.records.result import RunResult
from mam.scoring.language_codes import name_of
from mam.scoring.wording import counted

METRIC_NAMES = {"wer": "WER", "cer": "CER", "error": "error"}
LANGUAGE_ORIGINS = {
    "config": "set by model.language",
    "generation_config": "from generation_config.json",
    "vocabulary": "English-only vocabulary",
    "detected": "detected",
    "letters": "from the letters of its vocabulary",
}


def metric_name(result: RunResult) -> str:
    """Return the display name of the compared metric."""
    return METRIC_NAMES[result.metric]


def plain_id(name: str) -> str:
    """Return a hub id unchanged, and only the last part of a path, so that no private folder is shown."""
    return name if ":" in name or (name.count("/") == 1 and not name.startswith((".", "/"))) else PurePath(name).name


def title_of(result: RunResult) -> str:
    """Return the names of the pair and the data set."""
    return f"{result.model.name} on {result.data.name}"


def data_text(result: RunResult) -> str:
    """Return the data set, the split or folds, and the number of examples."""
    folds = [] if result.head is None else [probe.fold for probe in result.head.folds]
    where = f"{len(folds)} folds" if len(folds) > 1 else folds[0] if folds else result.data.split
    return f"{result.data.name}, {where} ({counted(result.data.n, 'example')})"


def arm_text(result: RunResult) -> str:
    """Return how the target was merged or trained, in the paper's words."""
    if result.train is None:
        return "merged, λ by fold" if result.is_by_fold else f"merged λ={lambda_text(result.merge)}"
    if result.train.is_lmam:
        return "L-MAM"
    return f"MAM-FT λ={lambda_text(result.merge)}" if result.is_merged else "FT"


def lambda_text(merge: MergeRecord) -> str:
    """Return λ of the merged layers: one number if they agree, else the range; of several sources ``0.05 + 0.02``."""
    several = [merge.lam] if merge.is_identity else [one.lam for one in merge.each]
    ranges = []
    for lam in several:
        lams = [lam[layer] for layer in merge.merged_layers]
        low, high = min(lams), max(lams)
        ranges.append(f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}")
    return " + ".join(ranges)


def sources_text(result: RunResult) -> str:
    """Return the name of the source, or of all of several."""
    return " + ".join(plain_id(record.id) for record in result.model.sources)


def layers_text(merge: MergeRecord) -> str:
    """Return the merged layers, for example ``layers 0-3 of 4``; consecutive layers are joined."""
    pieces: list[list[int]] = []
    for layer in merge.merged_layers:
        if pieces and pieces[-1][-1] == layer - 1:
            pieces[-1].append(layer)
        else:
            pieces.append([layer])
    text = ",".join(str(piece[0]) if len(piece) == 1 else f"{piece[0]}-{piece[-1]}" for piece in pieces)
    where = "" if merge.asked is None or merge.asked.where == "encoder" else f" (where={merge.asked.where})"
    return f"layers {text} of {len(merge.lam)}{where}"


def parts_text(merge: MergeRecord) -> str:
    """Return the merged parts, and the requested ones if a control takes fewer."""
    requested = merge.parts_asked or merge.parts
    return merge.parts if merge.parts == requested else f"{merge.parts} of {requested}"


def decoder_text(decoder: DecoderRecord) -> str:
    """Return language and task of a decoder, and where they come from."""
    return language_text(decoder.language, decoder.origin, decoder.share)


def language_text(language: str, origin: str, share: float | None = None) -> str:
    """Return a language, where it comes from, and its share of the votes if it was detected."""
    votes = "" if share is None else f" with {100 * share:.0f} % of the votes"
    return f"{name_of(language)}, {LANGUAGE_ORIGINS[origin]}{votes}"
