"""`mam merge`: the merged model as a plain checkpoint, without any data."""

from __future__ import annotations

from collections.abc import Sequence

from mam.errors import ConfigError
from mam.verbs.common import Words, merge_config, open_terminal, refuse_meaningless


def main(argv: Sequence[str]) -> int:
    """Merge files into files."""
    example = "mam merge model=hubert_vit lam=0.05 layers=top6 out=merged"
    words = Words("merge", "[key=value ...] out=DIR", example, is_configured=True)
    words.add_argument("words", metavar="key=value", nargs="*", help="key of the configuration (see `mam run --help`)")
    words.key("out", "DIR", "folder to write")
    search, argv = words.search(argv)
    options = words.read(argv)
    complaints = refuse_meaningless("merge", options.words)
    if not options.out or sum(word.startswith("out=") for word in argv) > 1:
        complaints.append("out: needs exactly one folder for the merged checkpoint. Set out=DIR")
    if complaints:
        raise ConfigError(complaints)

    config = merge_config(options.words, search)
    terminal = open_terminal()
    from mam.evaluation.fitness import refuse_unfit, refuse_without_activations
    from mam.evaluation.model_pair import checked_parents, remarks_of
    from mam.files import expanded
    from mam.merging.plan import mismatch_notes
    from mam.models.families import TARGETS
    from mam.runs.merge_files import merge_checkpoint, plan_of_files

    parents = checked_parents(config)
    target = parents.target
    plan = plan_of_files(config, parents)
    refuse_unfit(config, parents)
    refuse_without_activations(plan, "merge")
    with terminal.status("merging"):
        report = merge_checkpoint(parents, plan, expanded(options.out))
    terminal.say(f"merged {report.tensors} tensors ({report.parameters:,} parameters) into {options.out}")
    caveats = () if plan.is_identity else TARGETS[target.model_type].caveats(target, plan.parts)
    for note in (*mismatch_notes(plan), *caveats, *remarks_of(config.model, target), *report.notes):
        terminal.say(note)
    return 0
