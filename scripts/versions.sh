#!/usr/bin/env bash
# The tests on each Python that mam admits, with the versions that CI tests, and on the oldest packages that
# pyproject.toml admits. It needs uv, and a folder for environments of some gigabytes each; they are used again.
# ONLY=oldest, or ONLY=3.12, runs one of them.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: scripts/versions.sh FOLDER [PYTEST WORDS]}
shift
failed=0

tested() { # NAME PYTHON [WORDS OF uv pip install]
  local name=$1 version=$2
  shift 2
  [ "${ONLY:-$name}" = "$name" ] || return 0
  if ! uv python find "$version" > /dev/null 2>&1; then
    echo "$name: there is no Python $version here"
    return
  fi
  if ! { [ -d "$folder/$name" ] || uv venv --quiet --python "$version" "$folder/$name"; } ||
    ! uv pip install --quiet --python "$folder/$name" "$@" --editable '.[dev]' --editable demo ||
    ! OMP_NUM_THREADS=1 "$folder/$name/bin/pytest" -n 2 -m 'not slow and not slurm and not gpu' "${words[@]}"; then
    failed=1
    echo "$name: FAILED"
    return
  fi
  echo "$name: passed"
}

words=("$@")
for version in 3.11 3.12 3.13; do
  tested "$version" "$version" --constraint .ci/constraints.txt
done
words+=(-W ignore::DeprecationWarning -W ignore::FutureWarning) # old packages use what newer ones no longer like
tested oldest 3.11 --resolution lowest-direct
exit $failed
