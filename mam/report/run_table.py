"""One finished run in a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mam.records.learning import DevChange, TrainRecord, TuneRecord
from mam.records.parts import FoldsDifference, MergeRecord
from mam.records.result import RunResult
from mam.records.text import arm_text, data_text, lambda_text, layers_text, metric_name
from mam.report.groups import groups_notes, groups_table
from mam.report.language import run_lines
from mam.report.layout import verdict_style
from mam.scoring.error_rate import ErrorRates
from mam.scoring.wer import Rates
from mam.scoring.wording import counted, difference_text, units_text
from mam.terminal import Terminal, hundredfold, interval, p_text, percent, plain_table, points

LAMBDA_NAMES = "lambda.csv, lambda.png"


def show_run(terminal: Terminal, result: RunResult, folder: Path) -> None:
    """Show one run: rates, the difference with its interval, the merge, training or tuning, notes, files."""
    terminal.table(f"{result.model.name} on {data_text(result)}", _rates_table(result))
    if result.task == "asr":
        terminal.say("subst., del., ins.: words substituted, deleted and inserted")
    terminal.say("")
    _show_difference(terminal, result)
    terminal.say(_merge_text(result))
    if result.train:
        _show_training(terminal, result, result.train)
    if result.tune:
        terminal.say(_tune_text(result.tune))
    if result.head:
        terminal.say(f"head    {result.head.name}")
    for note in result.merge.notes:
        terminal.say(f"        {note}")
    for line in run_lines(result):
        terminal.say(line)
    length = f"{result.data.seconds:.0f} s of {'speech' if result.task == 'asr' else 'audio'}"
    terminal.say(
        f"data    {counted(result.data.n, 'example')}, {length};"
        f" the part that depends on λ took {result.timing.evaluate:.1f} s"
    )
    terminal.say(f"split   {result.data.rule}")
    if result.data.skipped:
        skipped = counted(len(result.data.skipped), "unusable example")
        terminal.say(f"        {skipped} skipped; result.json lists them")
    for table in result.groups or ():
        terminal.table(f"by {table.by}", groups_table(table))
        terminal.say("")
        for remark in groups_notes(table):
            terminal.say(remark)
    for sentence in result.diagnostics:
        terminal.say(f"note    {sentence}")
    terminal.say(f"files   {folder}")


def _rates_table(result: RunResult) -> Table:
    asr = ("WER", "CER", "subst.", "del.", "ins.", "words")
    headings = asr if result.task == "asr" else ("error", "errors", "clips", "fold mean ± sd")
    table = plain_table(("", "left"), *((heading, "right") for heading in headings))
    control = result.merge.control
    merged = arm_text(result) + ("" if control == "none" else f" ({control})")
    table.add_row(_baseline_name(result), *_rates_row(result.baseline))
    table.add_row(merged, *_rates_row(result.metrics))
    return table


def _baseline_name(result: RunResult) -> str:
    if result.baseline.kind == "ft":
        return "FT"
    return "before training" if result.train else "baseline λ=0"


def _rates_row(rates: Rates | ErrorRates) -> list[str]:
    if isinstance(rates, Rates):
        counts = (rates.substitutions, rates.deletions, rates.insertions, rates.words)
        return [percent(rates.wer), percent(rates.cer), *map(str, counts)]
    spread = "" if rates.fold_sd is None else f" ± {hundredfold(rates.fold_sd)}"
    return [percent(rates.error), str(rates.errors), str(rates.clips), percent(rates.fold_mean) + spread]


def _show_difference(terminal: Terminal, result: RunResult) -> None:
    delta = result.delta
    terminal.say(f"Δ {metric_name(result)} {difference_text(delta)}", verdict_style(delta))
    terminal.say(f"  {units_text(delta)}")
    if delta.mcnemar:
        terminal.say(f"  McNemar's exact test, which assumes independent clips: p {p_text(delta.mcnemar.p_value)}")
    if delta.over_folds:
        terminal.say(f"  {_over_folds_text(delta.over_folds)}")


def _over_folds_text(over: FoldsDifference) -> str:
    """Return the mean over folds with its interval."""
    bounds = "" if over.ci95 is None else f", 95 % {interval(over.ci95)}"
    p = "" if over.p_value is None else f", p {p_text(over.p_value)}"
    return f"mean over {over.folds} folds, Student's t: {points(over.mean)} points{bounds}{p}"


def _merge_text(result: RunResult) -> str:
    merge = result.merge
    heads = "" if merge.heads is None else f" heads {', '.join(map(str, merge.heads))} only,"
    return (
        f"merged  {merge.tensors} tensors, {merge.parameters:,} parameters: {merge.parts}"
        f"{' with biases' if merge.bias else ' without biases'},"
        f" {layers_text(merge)},{heads}"
        f" {'mean ' if result.is_by_fold else ''}λ {lambda_text(merge)}{_how_text(merge)}"
    )


def _how_text(merge: MergeRecord) -> str:
    """Return method and alignment unless they are the default ones."""
    method = "" if merge.method == "linear" else f", by {merge.method}"
    aligned = "" if merge.align == "none" else f", aligned by {merge.align}"
    return method + aligned + ("" if merge.repair == "none" else f", repaired by {merge.repair}")


def _show_training(terminal: Terminal, result: RunResult, train: TrainRecord) -> None:
    """Show the amount of training, its effect on dev, and λ of every layer if it was learnt."""
    clips = _span([training.train for training in train.folds])
    steps = _span([training.steps for training in train.folds])
    best = _span([training.best_step for training in train.folds])
    several = f"{len(train.folds)} trainings on " if len(train.folds) > 1 else ""
    terminal.say(f"train   {several}{clips} clips, {steps} steps, best on dev at step {best}; {train.seconds:.0f} s")
    terminal.say(_dev_text(metric_name(result), train.dev))
    if train.is_lmam:
        learnt = [one.lam for one in result.merge.each]
        names = ["λ learnt"] if len(learnt) == 1 else [f"source {n}" for n in range(1, len(learnt) + 1)]
        table = plain_table(("layer", "right"), ("λ at start", "right"), *((name, "right") for name in names))
        for layer in result.merge.layers:
            ended = (f"{lam[layer]:.4f}" for lam in learnt)
            table.add_row(str(layer), f"{train.lam_at_start[layer]:.4f}", *ended)
        terminal.table(f"λ by layer (mean over the layer's parts; its course is in {LAMBDA_NAMES})", table)
        terminal.say("")


def _dev_text(metric: str, dev: DevChange) -> str:
    return (
        f"dev     {metric} {percent(dev.before)} → {percent(dev.after)},"
        f" Δ {points(dev.absolute)} points, 95 % {interval(dev.ci95)} (dev was also used to choose the step)"
    )


def _tune_text(tune: TuneRecord) -> str:
    """Return the λ chosen on dev, and the number of candidates."""
    if tune.name == "entropy":
        return _entropy_text(tune)
    if tune.name == "agreement":
        return _agreement_text(tune)
    tried = len({str(trial.value) for trial in tune.tried})
    if any(choice.lams is not None for choice in tune.chosen):
        return f"tune    {tune.name} on dev: a λ for every layer, {tried} sets tried"
    chosen = ", ".join(f"{choice.lam:g}" + (f" (fold {choice.fold})" if choice.fold else "") for choice in tune.chosen)
    work = f", with {100 * tune.work:.0f} % of the work of a full grid" if tune.name == "race" else ""
    return f"tune    {tune.name} on dev: λ {chosen} chosen from {counted(tried, 'candidate')}{work}"


def _entropy_text(tune: TuneRecord) -> str:
    looks = tune.tried
    best = next(look for look in looks if look.lams == tune.chosen[0].lams)
    where = "test itself" if tune.transductive else "dev"
    return (
        f"tune    entropy on {where}, without labels: {looks[0].entropy:.4f} nats at λ=0, {best.entropy:.4f} at"
        f" the best of {len(looks)} evaluations"
    )


def _agreement_text(tune: TuneRecord) -> str:
    where, chosen = "test itself" if tune.transductive else "dev", tune.chosen[0].lam
    shares = {look.lam: look.disagreement for look in tune.tried}
    near = f"; its transcripts differ from its neighbours' in {percent(shares[chosen] or 0)} of words" if chosen else ""
    return f"tune    agreement on {where}, without labels: λ {chosen:g} chosen from {len(shares)} candidates{near}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
