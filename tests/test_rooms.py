"""The house keeps its order: a room imports only from rooms above it, and the pure ones know nothing else."""

import ast
from pathlib import Path

import mam

ROOT = Path(mam.__file__).parent
# From the top of the house to its cellar; pure rooms first, as config.py takes the valid names from their registries.
ORDER = [
    "errors",
    "files",
    "languages",
    "identity",
    "cache",
    "processes",
    "scoring",
    "merge.selection",
    "merge.pairing",
    "merge.schedules",
    "merge.methods",
    "merge.controls",
    "merge.basis",
    "merge.project",
    "merge.align",
    "inputs",
    "config",
    "learning_checks",
    "merging_checks",
    "checks",
    "words",
    "compose",
    "command",
    "plans",
    "terminal",
    "wording",
    "data",
    "models",
    "merge",
    "tasks",
    "evaluation",
    "inspection",
    "validity",
    "finished",
    "record",
    "training",
    "tuning",
    "result",
    "run",
    "rescore",
    "studies",
    "report",
    "launch",
    "verbs",
    "cli",
    "__main__",
]
PURE = ("languages", "scoring", *(name for name in ORDER if name.startswith("merge.")))


def room(module: str) -> str:
    return next(
        name for name in sorted(ORDER, key=len, reverse=True) if module == name or module.startswith(f"{name}.")
    )


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path


def test_imports_go_up_only():
    wrong = []
    for name, path in modules():
        for imported in imports(path):
            inner = imported.removeprefix("mam.")
            if imported.startswith("mam.") and ORDER.index(room(inner)) > ORDER.index(room(name)):
                wrong.append(f"{name} imports {inner}")
    assert not wrong


def test_pure_rooms_know_no_hydra_no_files_no_models():
    banned = (
        "hydra",
        "omegaconf",
        "transformers",
        "pathlib",
        "mam.files",
        "mam.config.schema",
        "mam.models",
        "mam.data",
    )
    wrong = [(n, i) for n, p in modules() if room(n) in PURE for i in imports(p) if i.startswith(banned)]
    assert not wrong


def test_no_file_is_longer_than_three_hundred_lines():
    long = {path.name: n for _, path in modules() if (n := len(path.read_text().splitlines())) > 300}
    assert not long
