"""The command line: it dispatches the verbs. torch is imported only by verbs that compute."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mam.errors import ConfigError, MamError, choices, in_words, shown
from mam.extensions import blaming
from mam.memory import explained
from mam.processes import leave
from mam.verbs import VERBS

_SENTENCES = "\n".join(f"  {verb:<9}{sentence}" for verb, sentence in VERBS.items())
MOST_WORDS = 10_000
USAGE = f"""\
usage: mam VERB [words ...]

Merge the attention of a Transformer of one modality into that of another and
measure the effect. `mam run` without arguments runs the bundled demo, offline
and on a CPU.

verbs:
{_SENTENCES}

`mam VERB --help` explains a verb, with an example. `mam run --help` lists all
groups and keys of the configuration.

examples:
  mam run lam=0.1                    one run
  mam run --multirun lam=0,0.05,0.1  a sweep: one run per combination of values
  mam run experiment=lambda_grid     a study: several runs and one table
  mam run train=lmam                 fine-tuning with λ learnt (train=finetune:
                                     λ fixed; lam=0: regular fine-tuning)
  mam run --cfg job lam=0.1          print the configuration and stop
  mam score RUN normalizer=none      score saved predictions again
  eval "$(mam --shell-completion install=bash)"
                                     completion of mam run in bash
  mam --version
"""


def main() -> None:
    """Run the command line of ``mam`` and ``python -m mam``.

    Exit codes: 0 done, 1 failed, 2 misconfigured, 130 stopped.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show λ shows ? instead
    try:
        with blaming(), explained("Close other programs, or use a machine with more memory."):
            code = _dispatch(sys.argv[1:])
        leave()
        sys.stdout.flush()
        sys.exit(code)
    except MamError as error:
        _show_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("mam: stopped. Finished runs are kept; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader closed the pipe, as in `mam run | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # errors of the system that were not turned into a MamError
        print(shown(f"mam: {in_words(error)}"), file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _show_error(text: str) -> None:
    if not sys.stderr.isatty():
        print(f"mam: {text}", file=sys.stderr)
        return
    from mam.terminal import Terminal

    Terminal().error(text, "mam:")


def _open_closed_streams() -> None:
    """Open standard streams that the caller closed, as in ``mam ls >&-``; another file would take their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _dispatch(argv: Sequence[str]) -> int:
    if len(argv) > MOST_WORDS:
        raise ConfigError(
            f"{len(argv):,} arguments are too many (at most {MOST_WORDS:,}). Put them into configuration files"
        )
    if not argv or argv[0] in ("help", "--help", "-h"):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        from mam.identity import VERSION

        print(f"mam {VERSION}")
        return 0
    if argv[0] in ("--shell-completion", "-sc"):
        from mam.verbs.hydra import complete

        return complete(argv, tuple(VERBS))
    if argv[0] not in VERBS:
        raise ConfigError(f"{argv[0]}: not a verb of mam. Choose one of: {choices(tuple(VERBS))}. See `mam --help`.")
    return int(import_module(f"mam.verbs.{argv[0]}").main(argv[1:]))


if __name__ == "__main__":
    main()
