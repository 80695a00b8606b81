"""One result, or the results of a study, as tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from rich.table import Table

from mam.report.language import run_lines
from mam.report.layout import DIFFERENCE_COLUMNS, difference_cells, fitted
from mam.report.plots import METRIC_NAMES, metric_key
from mam.scoring.significance import holm
from mam.scoring.wording import (
    difference_text,
    read_difference,
    table_notes,
    units_text,
)
from mam.studies.merges import is_by_fold, same_merges
from mam.terminal import Terminal, hundredfold, interval, p_text, percent, plain_table, points

Result = Mapping[str, Any]
LAMBDA_NAMES = "lambda.csv, lambda.png"
TITLES = {  # of the studies that fill a table of the paper
    "table_asr_zeroshot": "Speech recognition, merging without training (MAM)",
    "table_aec_zeroshot": "Audio events, merging without training (MAM)",
    "table_asr_lmam": "Speech recognition, fine-tuned: L-MAM against regular fine-tuning",
    "table_aec_lmam": "Audio events, fine-tuned: L-MAM against regular fine-tuning",
}


def show_run(terminal: Terminal, result: Result, folder: Path) -> None:
    """Everything a reader needs of one run: both rates, the difference with its interval, what was merged, where."""
    data, delta, merge, timing = result["data"], result["delta"], result["merge"], result["timing"]
    terminal.table(f"{result['model']['name']} on {_data_text(result)}", _rates_table(result))
    terminal.say("")
    difference = read_difference(delta)
    terminal.say(f"Δ {metric_of(result)[1]} {difference_text(difference)}")
    terminal.say(f"  {units_text(difference)}")
    if "mcnemar" in delta:
        p = p_text(delta["mcnemar"]["p_value"])
        terminal.say(f"  McNemar's exact test, which takes clips to be independent: p {p}")
    if delta.get("over_folds"):
        terminal.say(f"  {_over_folds_text(delta['over_folds'])}")
    terminal.say(
        f"merged  {merge['tensors']} tensors, {merge['parameters']:,} parameters: {merge['parts']}"
        f"{' with biases' if merge['bias'] else ' without biases'},"
        f" {layers_text(merged_layers(merge), len(merge['lam']))},{_heads_text(merge)}"
        f" {'mean ' if is_by_fold(result) else ''}λ {lambda_text(result)}{_how_text(merge)}"
    )
    if result["train"]:
        _show_training(terminal, result)
    if result["tune"]:
        terminal.say(_tune_text(result["tune"]))
    if result.get("head"):
        terminal.say(f"head    {result['head']['name']}")
    for note in merge["notes"]:
        terminal.say(f"        {note}")
    for line in run_lines(result):
        terminal.say(line)
    terminal.say(
        f"data    {data['n']} examples, {data['seconds']:.0f} s of {'speech' if result['task'] == 'asr' else 'audio'};"
        f" what depends on λ took {timing['evaluate']:.1f} s"
    )
    if data["skipped"]:
        terminal.say(f"        {len(data['skipped'])} unusable examples were skipped; result.json lists them")
    for sentence in result["diagnostics"]:
        terminal.say(f"note    {sentence}")
    terminal.say(f"files   {folder}")


def show_study(terminal: Terminal, results: Sequence[tuple[Mapping[str, str], Result]], fixed: Sequence[str]) -> None:
    """One row a run. ``results`` pairs what varies between the runs with each result; ``fixed`` are the shared words.

    Below stand the baselines, once for each data set that occurs, and what the runs have to note, each note once.

    p values are Holm-adjusted over the runs that merged anything: with many λ some difference is "found" by chance.
    """
    chosen = best_on_dev([result for _, result in results])
    titles = list(dict.fromkeys(f"{r['model']['name']} on {_data_text(r)}" for _, r in results))
    title = " and ".join(titles) if len(titles) < 4 else f"{len(titles)} pairs of models and data"
    keys = list(dict.fromkeys(key for varied, _ in results for key in varied))
    metric, heading = metric_of(results[0][1])
    columns = [(key, "left") for key in keys] + ([("dev", "right")] if chosen else [])
    columns += [(heading, "right"), *DIFFERENCE_COLUMNS]
    rows = []
    same = same_merges([result for _, result in results])
    tried = [i for i in same if any(results[i][1]["merge"]["lam"])]
    adjusted = dict(zip(tried, holm([results[i][1]["delta"]["p_value"] for i in tried]), strict=True))
    for i in same:
        varied, result = results[i]
        row = [varied.get(key, "") for key in keys] + ([_dev_text(result, i in chosen)] if chosen else [])
        row.append(percent(result["metrics"][metric]))
        if i in adjusted:
            row += difference_cells(read_difference(result["delta"]), adjusted[i])
        else:
            row += ["baseline", "", "", "", ""]
        rows.append(row)
    terminal.table(title, fitted(columns, rows, ("p",)))
    terminal.say("")
    for note in table_notes(read_difference(results[i][1]["delta"]) for i in tried):
        terminal.say(note)
    for first, others in same.items():
        for other in others:
            terminal.say(f"{_words(results[other][0])} made the same merge as {_words(results[first][0])}: one row")
    unmerged = [(r, "before training" if r["train"] else "baseline λ=0") for _, r in results]
    baselines = [
        f"{name}: {heading} {percent(r['baseline'][metric])} on {_data_text(r)}"
        for r, name in unmerged
        if r["baseline"]["kind"] == "unmerged"
    ]
    for line in dict.fromkeys(baselines):
        terminal.say(line)
    if chosen:
        terminal.say(
            "* the best on dev; of equal ones the smallest λ. What it does on test is the row's own difference"
        )
    elif any(r.get("dev") for _, r in results):
        why = dict.fromkeys(r["dev"]["note"] for _, r in results if r.get("dev"))
        terminal.say(f"the best on dev is not marked: {'; '.join(filter(None, why))}")
    if fixed:
        terminal.say(f"all with {' '.join(fixed)}")
    notes = [note for _, result in results for note in result["diagnostics"]]
    for note in dict.fromkeys(notes):
        times = notes.count(note)
        terminal.say(f"note    {note}" + (f" ({times} runs)" if times < len(results) else ""))


def best_on_dev(results: Sequence[Result]) -> set[int]:
    """Of the runs on each data set and model the positions of the best on dev; none where dev was not evaluated."""
    best: dict[tuple[str, str], tuple[float, float, int]] = {}
    for i, result in enumerate(results):
        rate = (result.get("dev") or {}).get("rate")
        if rate is not None:
            where = result["model"]["name"], result["data"]["name"]
            best[where] = min(best.get(where, (2.0**31, 0.0, 0)), (rate, sum(result["merge"]["lam"]), i))
    return {i for _, _, i in best.values()}


def _dev_text(result: Result, is_best: bool) -> str:
    rate = (result.get("dev") or {}).get("rate")
    return "" if rate is None else f"{'*' if is_best else ''}{percent(rate)}"


def plain_id(name: str) -> str:
    """An id as it is known; of a path its last part, which is nobody's private folder."""
    return name if ":" in name or (name.count("/") == 1 and not name.startswith((".", "/"))) else PurePath(name).name


def layers_text(layers: Sequence[int], depth: int) -> str:
    """``layers 0-3 of 4``; runs of neighbours are joined."""
    pieces: list[list[int]] = []
    for layer in layers:
        if pieces and pieces[-1][-1] == layer - 1:
            pieces[-1].append(layer)
        else:
            pieces.append([layer])
    text = ",".join(str(piece[0]) if len(piece) == 1 else f"{piece[0]}-{piece[-1]}" for piece in pieces)
    return f"layers {text} of {depth}"


def _how_text(merge: Mapping[str, Any]) -> str:
    """Method and alignment where they are not the plain ones."""
    method = "" if merge["method"] == "linear" else f", by {merge['method']}"
    return method + ("" if merge.get("align", "none") == "none" else f", aligned by {merge['align']}")


def _heads_text(merge: Mapping[str, Any]) -> str:
    return "" if merge.get("heads") is None else f" heads {', '.join(map(str, merge['heads']))} only,"


def merged_layers(merge: Mapping[str, Any]) -> list[int]:
    """The selected layers whose λ is not 0; all selected ones where every λ is."""
    return [layer for layer in merge["layers"] if merge["lam"][layer]] or list(merge["layers"])


def lambda_text(result: Result) -> str:
    """λ of the merged layers: one number where they agree, else the range."""
    lams = [result["merge"]["lam"][layer] for layer in merged_layers(result["merge"])]
    low, high = min(lams), max(lams)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _rates_table(result: Result) -> Table:
    asr = ("WER", "CER", "subst.", "del.", "ins.", "words")
    headings = asr if result["task"] == "asr" else ("error", "errors", "clips", "fold mean ± sd")
    columns = [(heading, "right") for heading in headings]
    table = plain_table(("", "left"), *columns)
    control = result["merge"]["control"]
    merged = arm_text(result) + ("" if control == "none" else f" ({control})")
    before = "FT" if result["baseline"]["kind"] == "ft" else "before training" if result["train"] else "baseline λ=0"
    row = _asr_row if result["task"] == "asr" else _events_row
    for label, rates in ((before, result["baseline"]), (merged, result["metrics"])):
        table.add_row(label, *row(rates))
    return table


def arm_text(result: Result) -> str:
    """What was done to the target, in the paper's words."""
    if not result["train"]:
        return "merged, λ by fold" if is_by_fold(result) else f"merged λ={lambda_text(result)}"
    if result["train"]["name"] == "lmam":
        return "L-MAM"
    return f"MAM-FT λ={lambda_text(result)}" if any(result["merge"]["lam"]) else "FT"


def _show_training(terminal: Terminal, result: Result) -> None:
    """What was learnt on how much, what that did on dev, and λ of every layer where it was learnt."""
    train, lams = result["train"], result["merge"]["lam"]
    dev, folds = train["dev"], train["folds"]
    clips = _span([one["train"] for one in folds])
    steps, best = (_span([one[key] for one in folds]) for key in ("steps", "best_step"))
    several = f"{len(folds)} trainings on " if len(folds) > 1 else ""
    terminal.say(f"train   {several}{clips} clips, {steps} steps, best on dev at {best}; {train['seconds']:.0f} s")
    terminal.say(
        f"dev     {metric_of(result)[1]} {percent(dev['before'])} -> {percent(dev['after'])},"
        f" Δ {points(dev['absolute'])} points, 95 % {interval(dev['ci95'])} (dev chose the step)"
    )
    if train["name"] == "lmam":
        table = plain_table(("layer", "right"), ("λ at start", "right"), ("λ learnt", "right"))
        for layer in result["merge"]["layers"]:
            table.add_row(str(layer), f"{train['lam_at_start'][layer]:.4f}", f"{lams[layer]:.4f}")
        terminal.table(f"λ by layer (mean of what shares a layer; the course of it is in {LAMBDA_NAMES})", table)
        terminal.say("")


def _words(varied: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in varied.items())


def _over_folds_text(over: Mapping[str, Any]) -> str:
    """The mean over folds with its interval."""
    ends = f", 95 % {interval(over['ci95'])}, p {p_text(over['p_value'])}" if over["ci95"] else ""
    return f"over {over['folds']} folds by Student's t: {points(over['mean'])} points{ends}"


def _tune_text(tune: Mapping[str, Any]) -> str:
    """Which λ were chosen on dev, among how many."""
    chosen = ", ".join(f"{one['lam']:g}" + (f" (fold {one['fold']})" if one["fold"] else "") for one in tune["chosen"])
    tried = len({str(one.get("lams", one["lam"])) for one in tune["tried"]})
    if tune["name"] == "entropy":
        looks, last = tune["tried"], next(one for one in tune["tried"] if one["lams"] == tune["chosen"][0]["lams"])
        where = "test itself" if tune["transductive"] else "dev"
        return (
            f"tune    entropy on {where}, no labels: {looks[0]['entropy']:.4f} nats at λ=0, {last['entropy']:.4f} at"
            f" the best of {len(looks)} looks"
        )
    if any("lams" in one for one in tune["chosen"]):
        return f"tune    {tune['name']} on dev: λ of every layer, {tried} sets tried"
    work = f", {100 * tune['work']:.0f} % of a grid's work" if tune["name"] == "race" else ""
    return f"tune    {tune['name']} on dev: λ {chosen} of {tried} tried{work}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _asr_row(rates: Result) -> list[str]:
    counts = [str(rates[key]) for key in ("substitutions", "deletions", "insertions", "words")]
    return [percent(rates["wer"]), percent(rates["cer"]), *counts]


def _events_row(rates: Result) -> list[str]:
    spread = "" if rates["fold_sd"] is None else f" ± {hundredfold(rates['fold_sd'])}"
    return [percent(rates["error"]), str(rates["errors"]), str(rates["clips"]), percent(rates["fold_mean"]) + spread]


def metric_of(result: Result) -> tuple[str, str]:
    """The metric that is compared, and what it is called on the screen."""
    return metric_key(result), METRIC_NAMES[metric_key(result)]


def _data_text(result: Result) -> str:
    folds = [one["fold"] for one in (result.get("head") or {}).get("folds", [])]
    where = f"{len(folds)} folds" if len(folds) > 1 else folds[0] if folds else result["data"]["split"]
    return f"{result['data']['name']}, {where} ({result['data']['n']} examples)"
