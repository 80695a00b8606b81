"""The command line: verbs and argv, nothing else. torch is imported only by what computes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mam.errors import ConfigError, MamError, choices

USAGE = """\
mam: merge the attention of one modality's Transformer into another's, and
measure what that does.

  mam run [key=value ...]            one run; without arguments the bundled
                                     demo, offline, on a CPU
  mam run --multirun lam=0,0.05,0.1  several runs; values between commas are
                                     combined
  mam run experiment=lambda_grid     a study: several runs and one table
  mam run train=lmam                 λ learnt while fine-tuning (train=finetune:
                                     λ fixed; lam=0: regular fine-tuning)
  mam run --help                     every group and key
  mam run --cfg job [key=value ...]  the configuration that would run
  mam inspect [key=value ...] [--json]
                                     what a merge would do: both attentions,
                                     pairs, λ, scales, warnings; no data
  mam merge [key=value ...] out=DIR  the merged model as a plain checkpoint,
                                     without any data
  mam score RUN [normalizer=NAME] [seed=N]
                                     score saved predictions again, without a
                                     model
  mam report DIR... [out=FOLDER]     finished runs in tables and on one page
  mam compare A B                    two runs over the same examples
  mam export RUN DIR [fold=N]        a run as a plain checkpoint with its card
  mam cache info|clear               what runs share on disk
  mam --shell-completion install=bash
                                     prints what eval needs to complete mam run
  mam --version
"""
VERBS = ("run", "inspect", "merge", "score", "report", "compare", "export", "cache")


def main() -> None:
    """Entry point of ``mam`` and ``python -m mam``. Exits with 0 done, 1 failed, 2 misconfigured, 130 stopped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without λ shows ? for it
    try:
        code = _dispatch(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(code)
    except MamError as error:
        print(f"mam: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("mam: stopped. Finished runs are kept; the same command finds them.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe went away, as `mam run | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # what the system refuses and no room has said better
        place = f"{str(error.filename)[:200]}: " if error.filename else ""
        print(f"mam: {place}{error.strerror or error}. Check that it exists and may be used.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _dispatch(argv: Sequence[str]) -> int:
    asks_help = [word in ("--help", "-h") for word in argv[:2]]
    if not argv or argv[0] == "help" or asks_help[0] or (argv[0] != "run" and any(asks_help)):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        from mam import __version__

        print(f"mam {__version__}")
        return 0
    if argv[0] in ("--shell-completion", "-sc"):
        from mam.verbs.hydra import answer

        return answer(argv, VERBS)
    if argv[0] not in VERBS:
        raise ConfigError(f"{argv[0]}: not a verb of mam. Choose one of: {choices(VERBS)}. `mam --help` explains.")
    return int(import_module(f"mam.verbs.{argv[0]}").main(argv[1:]))


if __name__ == "__main__":
    main()
