"""The identity of the running code: a hash of the package's sources, and the commit in a git checkout of mam.

Results, caches and unfinished training runs are keyed by this hash, beside everything else that they depend on.
Different code may compute a different result, even if the version is the same.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

VERSION = version("mam-bench")
RELEASE = VERSION.partition("+")[0].partition(".dev")[0]  # does not change from commit to commit; for keys of results
PACKAGE = Path(__file__).parent
SOURCES = (".py", ".csv")  # modules and the tables that they read
HIDDEN = ("__pycache__",)
APART = ("conf", *HIDDEN)  # of mam: the content of conf is hashed where it is used
PATIENCE = 5.0  # time limit for git, in seconds


@dataclass(frozen=True)
class Code:
    """The SHA-256 of the sources and, in a git checkout of mam, the commit and whether the sources differ from it."""

    sha256: str
    commit: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True)
class Commit:
    """The commit of a checkout.

    ``dirty`` is true if the sources differ from the commit, and None if git is not available.
    """

    commit: str
    dirty: bool | None


@cache
def code_sha256() -> str:
    """Return the hex SHA-256 of the package's sources by relative path and content, as they were on the first call."""
    return tree_sha256(PACKAGE, APART)


def code_record() -> Code:
    """Return the entry about the code in `result.json`; the commit is that of a checkout of mam."""
    commit = checkout(PACKAGE.parent)
    if commit is None:
        return Code(code_sha256())
    return Code(code_sha256(), commit.commit, commit.dirty)


def tree_sha256(root: Path, apart: tuple[str, ...] = HIDDEN) -> str:
    """Return the hash of one file, or of all sources below a folder; raises OSError if a file cannot be read."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in sources_of(root, apart)):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def sources_of(root: Path, apart: tuple[str, ...] = HIDDEN) -> Iterator[Path]:
    """Yield a file itself, or the sources below a folder, without what is hidden or named in ``apart``."""
    if not root.is_dir():
        yield root
        return
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in apart and not name.startswith(".")]
        yield from (Path(folder, name) for name in names if name.endswith(SOURCES) and not name.startswith("."))


@cache
def checkout(root: Path) -> Commit | None:
    """Return the commit of the git checkout of mam whose top folder is ``root``, or None if ``root`` is not one.

    A repository in which mam is only installed or called is ignored: its commit does not identify mam's sources.
    """
    if not (root / ".git").exists() or not _is_mam(root):
        return None
    commit = _git_status(root)
    if commit is not None:
        return commit
    commit_hash = _commit_in_files(root)
    return None if commit_hash is None else Commit(commit_hash, None)


def _is_mam(root: Path) -> bool:
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return False
    return isinstance(project, dict) and project.get("name") == "mam-bench"


def _git_status(root: Path) -> Commit | None:
    """Return the commit and status that git reports, or None if git is missing, refuses or takes too long."""
    # Git's own variables may be set for another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--", "mam", "conf"]
    try:
        process = subprocess.run(
            command, cwd=root, env=environment | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = process.stdout.decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    if process.returncode or not _is_hash(commit):
        return None
    return Commit(commit, any(not line.startswith("#") for line in lines))


def _commit_in_files(root: Path) -> str | None:
    """Read the commit from git's own files; return None if they have an unsupported form."""
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref:"):
            name = head.removeprefix("ref:").strip()
            loose = next((git_folder / name for git_folder in (git, shared) if (git_folder / name).is_file()), None)
            packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines() if loose is None else []
            packed_hashes = (line.split()[0] for line in packed if line.endswith(f" {name}"))
            head = next(packed_hashes, "") if loose is None else loose.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return head if _is_hash(head) else None


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and all(letter in "0123456789abcdef" for letter in text)
