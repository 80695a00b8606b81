"""`mam push`: an exported run on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mam.files import expanded
from mam.verbs.common import Words, open_terminal

FLAG = ("true", "false")


def main(argv: Sequence[str]) -> int:
    """Export RUN and send it; return 1 if nothing was sent."""
    usage = "RUN OWNER/NAME [private=true] [fold=N] [out=DIR] [force=true]"
    words = Words("push", usage, "mam push outputs/RUN me/hubert-bert private=true")
    words.add_argument("run", metavar="RUN", help="folder of a finished run")
    words.add_argument("repo", metavar="OWNER/NAME", help="repository to create on the hub")
    words.key("private", "true", "make the repository private (false: public)", choices=FLAG)
    words.key("fold", "N", "fold whose model is exported, if the run has one per fold")
    words.key("out", "DIR", "folder that is written and uploaded (default: pushed/OWNER/NAME)")
    words.key("force", "true", "add a commit if the repository exists already", choices=FLAG)
    words.plugins()
    options = words.read(argv)
    terminal = open_terminal()
    from mam.runs.push import push

    out = expanded(options.out) if options.out else Path("pushed") / options.repo
    private = None if options.private is None else options.private == "true"
    with terminal.status("exporting and uploading"):
        pushed = push(Path(options.run), options.repo, out, private, options.fold, options.force == "true")
    for remark in pushed.remarks:
        terminal.say(remark)
    if pushed.url is None:
        terminal.say(f"nothing was uploaded: {pushed.reason}")
        terminal.say(f"the export was written and its model card is valid: {pushed.folder}")
        return 1
    terminal.say(f"uploaded {pushed.folder} to {pushed.url}")
    return 0
