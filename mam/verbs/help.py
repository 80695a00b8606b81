"""`mam run --help`: what every key of the configuration means, the files of its groups, examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from mam.config.composer import Composer
from mam.config.reference import KeyDoc, files_of, key_docs
from mam.config.schema import Config
from mam.config.search import FILE_GROUPS, SearchPath
from mam.errors import ConfigError, choices, nearest, shown
from mam.merging.options import OPTION_NAMES
from mam.terminal import explained

WIDTH = 80
SECTIONS = {  # heading -> first names of the keys; what is in none of them comes last
    "merge": OPTION_NAMES,
    "model": ("model",),
    "data": ("data",),
    "train": ("train",),
    "tune": ("tune",),
    "evaluate": ("evaluate", "head"),
    "study": ("study",),
    "launch": ("launch",),
}
REST = "everything else"
USAGE = """\
usage: mam run [key=value ...] [group=name ...] [--multirun]

Merge the attention of one model into another and measure the effect.
`mam run --help NAME` shows only the keys and files of one group or key.
Flags:
  --multirun (-m)   one run per combination of comma-separated values
  --cfg job         print the configuration and stop
  --info            print information about Hydra and stop
  --config-dir DIR  search your own folder of configurations too
  --from RUN        repeat a finished run, whose folder is RUN
Terms: the target is the speech or audio model, the source the model that is
merged into it. FT is regular fine-tuning, MAM merging with fixed λ without
training, MAM-FT the same followed by fine-tuning, L-MAM learns λ while
fine-tuning. dev is the development (validation) split."""
EXAMPLES = """\
examples
  mam run                                           the bundled demo
  mam run model=hubert_bert data=ljspeech lam=0.05  the paper's pair
  mam run --multirun lam=0,0.05,0.1,0.2             a sweep
  mam run experiment=lambda_grid                    a sweep with its control
  mam run layers=top2 parts=kv schedule=linear      selected layers and parts"""


def show_help(words: Sequence[str], search: SearchPath) -> int:
    """Print all keys, or those that the words name; ``plugins=[...]`` adds what plug-ins register.

    Raises:
        ConfigError: a word matches no key and no group.
    """
    with Composer(search) as composer:
        composer.load_plugins(words)
    names = [word.partition("=")[0] for word in words if not word.startswith("plugins=")]
    docs = list(key_docs(Config))
    groups = {group: files_of(group, search) for group in FILE_GROUPS}
    unknown = [name for name in names if not any(map(_matcher(name), [*groups, *(doc.key for doc in docs)]))]
    if unknown:
        known = [*groups, *(doc.key for doc in docs)]
        near = nearest(unknown[0], known) or list(SECTIONS)
        raise ConfigError(f"{unknown[0]}: not a key or group of `mam run`. Did you mean: {choices(near)}?")
    matchers = [_matcher(name) for name in names]
    blocks = [] if names else [USAGE]
    for heading, keys in _by_section(docs).items():
        matching = [doc for doc in keys if not names or any(matches(doc.key) for matches in matchers)]
        if matching:
            blocks.append("\n".join([f"{heading}: key=default", *explained(dict(map(_entry, matching)), WIDTH)]))
    chosen = {group: made for group, made in groups.items() if any(matches(group) for matches in matchers)}
    for group, made in chosen.items():
        blocks.append("\n".join([f"{group}=", *explained(made, WIDTH)]))
    if not names:
        lines = explained({f"{group}=": ", ".join(made) for group, made in groups.items()}, WIDTH)
        blocks += ["\n".join(["configuration groups: group=name (mam list describes each choice)", *lines]), EXAMPLES]
    print(shown("\n\n".join(blocks)))
    return 0


def _matcher(name: str) -> Callable[[str], bool]:
    """Return whether a key or group is meant by a name: itself, what is below it, or the last name of a key."""

    def matches(key: str) -> bool:
        return bool(name) and (key == name or key.startswith(f"{name}.") or key.endswith((f".{name}", f"/{name}")))

    return matches


def _by_section(docs: Sequence[KeyDoc]) -> dict[str, list[KeyDoc]]:
    """Return the keys under the headings of `SECTIONS`, in the order of the schema."""
    order = [field.name for field in fields(Config)]
    sections: dict[str, list[KeyDoc]] = {heading: [] for heading in (*SECTIONS, REST)}
    for doc in sorted(docs, key=lambda doc: order.index(doc.key.partition(".")[0])):
        first = doc.key.partition(".")[0]
        heading = next((heading for heading, names in SECTIONS.items() if first in names), REST)
        sections[heading].append(doc)
    return sections


def _entry(doc: KeyDoc) -> tuple[str, str]:
    """Return a key with its default, and what it means with the choices that the meaning leaves out."""
    text = doc.meaning
    if not all(choice in text for choice in doc.choices if choice != doc.default):
        text += f" ({', '.join(doc.choices)})"
    return f"{doc.key}={doc.default}", text
