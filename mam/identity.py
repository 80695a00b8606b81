"""Which code computes: a hash of the package's sources, and the commit where they are a git checkout of mam.

Results, caches and unfinished trainings are kept by this hash beside everything else that they depend on: what other
code computed is another answer, even where the version is the same.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
SOURCES = (".py", ".csv")  # modules, and the tables that they read
APART = ("assets", "conf", "__pycache__")  # no sources: what they hold is part of the question by its content
PATIENCE = 5.0  # seconds that git may take


@dataclass(frozen=True)
class Code:
    """SHA-256 of the sources; of a git checkout of mam the commit, and whether the sources differ from it."""

    sha256: str
    commit: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True)
class Commit:
    """The commit of a checkout; ``dirty`` says whether the sources differ from it, None where git cannot be asked."""

    commit: str
    dirty: bool | None


def code_sha256(extra: Sequence[Path] = ()) -> str:
    """Hex SHA-256 of the package's sources by relative path and content, as they were when it was first asked for.

    Args:
        extra: further files or folders of sources that results depend on, such as a plug-in's.

    Raises:
        OSError: one of ``extra`` is not there.
    """
    own = _tree_sha256(PACKAGE)
    if not extra:
        return own
    others = [_tree_sha256(Path(place).resolve()) for place in extra]
    return hashlib.sha256("\n".join([own, *others]).encode()).hexdigest()


def code_record(extra: Sequence[Path] = ()) -> Code:
    """Return what `result.json` says of the code; the commit is that of a checkout of mam."""
    commit = checkout(PACKAGE.parent)
    if commit is None:
        return Code(code_sha256(extra))
    return Code(code_sha256(extra), commit.commit, commit.dirty)


@cache
def _tree_sha256(root: Path) -> str:
    """Of one file, or of all sources below a folder."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in _sources(root)):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name not in APART and not name.startswith(".")]
        yield from (Path(folder, name) for name in names if name.endswith(SOURCES) and not name.startswith("."))


@cache
def checkout(root: Path) -> Commit | None:
    """The commit of the git checkout of mam whose top is ``root``; None where ``root`` is none.

    A repository that mam was only installed or called in is not asked: it says nothing about mam's sources.
    """
    if not (root / ".git").exists() or not _is_mam(root):
        return None
    found = _asked(root)
    if found is not None:
        return found
    commit = _read(root)
    return None if commit is None else Commit(commit, None)


def _is_mam(root: Path) -> bool:
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return False
    return isinstance(project, dict) and project.get("name") == "mam"


def _asked(root: Path) -> Commit | None:
    """What git says of the sources; None where there is no git, or it refuses or takes too long."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}  # of another repository
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--", "mam", "conf"]
    try:
        asked = subprocess.run(
            command, cwd=root, env=own | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = asked.stdout.decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    if asked.returncode or not _is_hash(commit):
        return None
    return Commit(commit, any(not line.startswith("#") for line in lines))


def _read(root: Path) -> str | None:
    """The commit as git's own files have it; None where they are of a form that is not read here."""
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref:"):
            name = head.removeprefix("ref:").strip()
            loose = next((place / name for place in (git, shared) if (place / name).is_file()), None)
            packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines() if loose is None else []
            listed = (line.split()[0] for line in packed if line.endswith(f" {name}"))
            head = next(listed, "") if loose is None else loose.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return head if _is_hash(head) else None


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and all(letter in "0123456789abcdef" for letter in text)
