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
    words.add_argument("run", metavar="RUN", help="the folder of a finished run")
    words.add_argument("repo", metavar="OWNER/NAME", help="the repository to create on the hub")
    words.key("private", "true", "a private repository (false: a public one)", choices=FLAG)
    words.key("fold", "N", "which fold's model, where the run has one a fold")
    words.key("out", "DIR", "the folder that is written and sent (default: pushed/OWNER/NAME)")
    words.key("force", "true", "add a commit to a repository that exists", choices=FLAG)
    words.plugins()
    options = words.read(argv)
    terminal = open_terminal()
    from mam.runs.push import push

    out = expanded(options.out) if options.out else Path("pushed") / options.repo
    private = None if options.private is None else options.private == "true"
    with terminal.status("exporting and sending"):
        pushed = push(Path(options.run), options.repo, out, private, options.fold, options.force == "true")
    for remark in pushed.remarks:
        terminal.say(remark)
    if pushed.url is None:
        terminal.say(f"nothing was sent: {pushed.reason}")
        terminal.say(f"the folder is written and its card is valid: {pushed.folder}")
        return 1
    terminal.say(f"sent {pushed.folder} to {pushed.url}")
    return 0
