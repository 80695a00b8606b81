"""The small language of the demo: spoken orders to a household robot.

Every slot is drawn uniformly, so that no word is rare: in a first trial the rare words (numbers) made most of the
recognition errors. Training, dev and test sentences are disjoint as whole sentences; their words are shared.
"""

from __future__ import annotations

import random

VERBS = ["bring", "carry", "take", "move", "push", "hide"]
ADJECTIVES = ["red", "yellow", "green", "small", "heavy", "broken", "clean", "wooden"]
NOUNS = ["bottle", "chair", "mirror", "basket", "lamp", "kettle", "ladder", "pillow"]
PLACES = ["kitchen", "garden", "cellar", "window", "hall", "office", "stairs", "table"]
PREPOSITIONS = ["behind", "under", "near", "to"]
NAMES = ["anna", "peter", "helen", "robert"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
TIMES = ["morning", "evening", "afternoon"]
POLITE = ["please", "hello robot", "now"]

TEMPLATES = [
    "{polite} {verb} the {adjective} {noun} {preposition} the {place}",
    "{name} will {verb} {number} {noun}s {preposition} the {place}",
    "{verb} the {noun} at {number} in the {time}",
    "did {name} {verb} the {adjective} {noun} at {number}",
    "{number} {adjective} {noun}s are {preposition} the {place}",
    "{polite} {verb} {number} {adjective} {noun}s for {name}",
    "where is the {adjective} {noun} of {name}",
]


def sentence(rng: random.Random) -> str:
    """One random sentence, lower case, without punctuation."""
    words = {
        "polite": POLITE,
        "verb": VERBS,
        "adjective": ADJECTIVES,
        "noun": NOUNS,
        "place": PLACES,
        "preposition": PREPOSITIONS,
        "name": NAMES,
        "number": NUMBERS,
        "time": TIMES,
    }
    return rng.choice(TEMPLATES).format(**{slot: rng.choice(choices) for slot, choices in words.items()})


def disjoint_sentences(seed: int, **sizes: int) -> dict[str, list[str]]:
    """Draw distinct sentences and deal them to the named sets, e.g. ``disjoint_sentences(0, train=350, test=100)``."""
    rng = random.Random(seed)
    drawn: dict[str, None] = {}
    while len(drawn) < sum(sizes.values()):
        drawn[sentence(rng)] = None
    pool = iter(drawn)
    return {name: [next(pool) for _ in range(size)] for name, size in sizes.items()}
