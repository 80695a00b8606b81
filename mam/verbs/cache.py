"""`mam cache`: files that runs share on disk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mam.cache import KINDS, Cache, cache_folder
from mam.terminal import Terminal, plain_table
from mam.verbs.common import Words


def main(argv: Sequence[str]) -> int:
    """Show the cache, or clear it."""
    words = Words("cache", "info|clear [cache_dir=FOLDER]", "mam cache info")
    words.add_argument(
        "what", choices=("info", "clear"), help="info: show what is in the cache; clear: remove all of it"
    )
    words.key("cache_dir", "FOLDER", "cache folder (default: $MAM_CACHE, else ~/.cache/mam)")
    options = words.read(argv)
    cache, terminal = Cache(cache_folder(options.cache_dir), 0), Terminal()
    if options.what == "clear":
        entries, nbytes = cache.clear()
        terminal.say(f"removed {entries} entries, {nbytes / 1e6:.1f} MB, from {cache.folder}")
        return 0
    table = plain_table(("", "left"), ("entries", "right"), ("MB", "right"), ("last used", "left"))
    for held in cache.held():
        used = "" if held.used is None else f"{datetime.fromtimestamp(held.used):%Y-%m-%d %H:%M}"
        table.add_row(KINDS[held.kind], str(held.entries), f"{held.nbytes / 1e6:.1f}", used)
    terminal.table(str(cache.folder), table)
    return 0
