"""Training examples: transcripts as tokens or labels as class numbers, and the batches of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from mam.config.schema import Config
from mam.data.listing import SkippedExample
from mam.data.store import AudioStore
from mam.errors import DataError, bullets, choices
from mam.models.targets import Target
from mam.scoring.text import normalizer_for


@dataclass(frozen=True)
class Lessons:
    """The clips in ``audio`` and what to learn from each: its tokens, or one class number for audio events.

    ``skipped`` are the clips left out because of ``data.on_bad=skip``.
    """

    audio: AudioStore
    answers: list[list[int]]
    skipped: tuple[SkippedExample, ...] = ()

    def id(self, i: int) -> str:
        """Return the id of clip ``i``."""
        return str(self.audio.corpus.examples[i]["id"])


def transcripts(config: Config, target: Target, audio: AudioStore, on_bad: str) -> Lessons:
    """Return transcripts as the target's tokens, normalised as for scoring.

    A transcript is unusable if it has characters that the vocabulary lacks, has no letter, needs more frames than its
    recording has under CTC, or more tokens than the decoder can write. A recording longer than the target takes at once
    is unusable too.

    Raises:
        DataError: unusable transcripts or recordings. With ``on_bad=skip`` they are left out, and the error is raised
            only if none is left.
    """
    normalise, lacking = normalizer_for(config.data.normalizer, config.data.language), Counter[str]()
    answers: list[list[int]] = []
    bad: list[tuple[int, str]] = []
    for i, (example, samples) in enumerate(zip(audio.corpus.examples, audio.samples, strict=True)):
        tokens, unknown = target.spell(example["text"], normalise)
        lacking.update(unknown)
        # CTC needs one frame per token, and one more between two equal tokens.
        needed = len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))
        room = target.token_capacity(samples)
        if target.alone(samples):
            bad.append((i, "is longer than the target can process at once"))
        elif not tokens:
            bad.append((i, "its transcript is empty after normalisation"))
        elif unknown:
            bad.append((i, f"the vocabulary lacks {choices(sorted(set(unknown)))}"))
        elif target.most_tokens is not None and len(tokens) > target.most_tokens:
            bad.append(
                (i, f"its transcript needs {len(tokens)} tokens, but the decoder allows only {target.most_tokens}")
            )
        elif room is not None and needed > room:
            bad.append((i, f"its transcript needs {needed} frames for CTC, but the recording has only {room}"))
        answers.append(tokens)
    if lacking and on_bad == "stop":
        listed = ", ".join(f"{letter!r} ({times} times)" for letter, times in sorted(lacking.items()))
        raise DataError(
            f"data={config.data.name}: the vocabulary of {target.checkpoint.id} lacks characters of the transcripts:"
            f" {listed}. Choose another data.normalizer or target, or set data.on_bad=skip to skip such clips."
        )
    if bad and (on_bad == "stop" or len(bad) == len(answers)):
        lines = [f"{audio.corpus.examples[i]['id']}: {reason}" for i, reason in bad]
        raise DataError(f"{bullets(lines)}\nTo skip such examples, set data.on_bad=skip.")
    left_out = {i for i, _ in bad}
    kept = [i for i in range(len(answers)) if i not in left_out]
    ids = audio.corpus.column("id")
    return Lessons(audio.subset(kept), [answers[i] for i in kept], tuple(SkippedExample(ids[i], why) for i, why in bad))


def labels(audio: AudioStore, classes: Sequence[str]) -> Lessons:
    """Return labels as positions in ``classes``. Raises DataError for a label not among them."""
    unknown = sorted(set(audio.corpus.column("label")) - set(classes))
    if unknown:
        raise DataError(f"these classes are not in the training data: {choices(unknown)}.")
    return Lessons(audio, [[classes.index(label)] for label in audio.corpus.column("label")])


class Clips(Dataset[dict[str, Any]]):
    """The training input of each clip: the output of the frozen front-end, kept in memory up to a budget in bytes.

    If the front-end is trained too, the input is the waveform.
    """

    def __init__(self, lessons: Lessons, target: Target, is_frozen: bool, budget_bytes: int) -> None:
        self._lessons, self._target, self._is_frozen, self._budget = lessons, target, is_frozen, budget_bytes
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._lessons.answers)

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not self._is_frozen:
            return {"index": i, "states": torch.from_numpy(self._lessons.audio.wave(i))[:, None]}
        if i in self._kept:
            return {"index": i, "states": self._kept[i]}
        with torch.no_grad():
            states = self._target.listen([self._lessons.audio.wave(i)]).states[0].cpu()
        if self._budget >= states.nbytes:
            self._budget -= states.nbytes
            self._kept[i] = states
        return {"index": i, "states": states}


def collate(clips: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Return a batch: ``states [b, t, c]``, true ``lengths [b]`` and the clips' positions ``index [b]``."""
    states = [clip["states"] for clip in clips]
    return {
        "states": nn.utils.rnn.pad_sequence(states, batch_first=True),
        "lengths": torch.tensor([len(sequence) for sequence in states]),
        "index": torch.tensor([clip["index"] for clip in clips]),
    }


class Order(Sampler[int]):
    """The order of clips for the whole training, fixed by the seed, so that a resumed training sees the same batches.

    Every pass over the data is shuffled anew. With ``by_length``, clips of similar length are put together, in chunks
    of 50 batches as in transformers.
    """

    def __init__(self, lengths: Sequence[int], steps: int, batch: int, seed: int, by_length: bool) -> None:
        """Draw the order of ``steps * batch`` clips; ``batch`` is the number of clips per update."""
        generator = torch.Generator().manual_seed(seed)
        self._order: list[int] = []
        while len(self._order) < steps * batch:
            if by_length:
                self._order += get_length_grouped_indices(list(lengths), batch, generator=generator)  # type: ignore[no-untyped-call]
            else:
                self._order += torch.randperm(len(lengths), generator=generator).tolist()
        del self._order[steps * batch :]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)
