"""The language of a run: what the decoder is told, what the references are in, and the normalizer that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from mam import processes
from mam.config.data import AUTO
from mam.config.schema import Config
from mam.data.audio import RATE
from mam.errors import CheckpointError
from mam.evaluation.workbench import Workbench
from mam.models.checkpoints import Checkpoint
from mam.models.hub import load_tokenizer
from mam.models.prompt import Origin, Prompt, Prompts
from mam.models.targets import family_of
from mam.models.vocabulary import Vocabulary
from mam.records.parts import DecoderRecord, SpeechTask
from mam.scoring.language_codes import name_of, tag_of
from mam.scoring.languages import bare_code, language_of_alphabet, leading_metric
from mam.scoring.text import default_normalizer

CLIPS, SECONDS = 16, 30  # on which a language is detected: the first clips of the corpus, the first seconds of each
CLEAR = 2 / 3  # share of the votes below which a detection is said to be in doubt
TOKENIZERS = ("vocab.json", "tokenizer.json", "tokenizer_config.json")
FOR_ENGLISH = ("hubert_english", "whisper_english")


@dataclass(frozen=True)
class LanguageChoice:
    """``config`` with a language, a normalizer and a metric in place of null and auto.

    ``prompt`` is the decoder's and None where there is no decoder; ``origin`` says where its language is from and
    ``share`` is that of the votes, where it was detected. ``notes`` are sentences for the diagnostics.
    """

    config: Config
    prompt: Prompt | None = None
    origin: Origin | None = None
    share: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def decoder(self) -> DecoderRecord | None:
        """What was told to the decoder, for the record."""
        if self.prompt is None or self.origin is None:
            return None
        prompt = self.prompt
        task: SpeechTask = "translate" if prompt.task == "translate" else "transcribe"
        return DecoderRecord(prompt.language, task, list(prompt.tokens), self.origin, self.share)


@dataclass(frozen=True)
class Vote:
    """Mean probability of each language over the clips that were listened to, the most probable first."""

    shares: tuple[tuple[str, float], ...]
    clips: int

    @property
    def note(self) -> str | None:
        """A sentence where the vote is in doubt."""
        (first, share), *others = self.shares
        if share >= CLEAR:
            return None
        second = f", then {name_of(others[0][0])} with {others[0][1]:.0%}" if others else ""
        return (
            f"the language was detected on {self.clips} clips and is in doubt: {name_of(first)} has {share:.0%} of the"
            f" votes{second}. Say model.language=CODE"
        )


def settled(config: Config, bench: Workbench) -> LanguageChoice:
    """Decide once what all of a run uses: the decoder's language, the references', the normalizer and the metric.

    The decoder's: ``model.language``, else what the checkpoint says, else English for an English-only vocabulary, else
    what the unmerged target hears. The references': ``data.language``, else what the decoder writes, else the language
    of a CTC vocabulary's letters. The metric is that of the references' language, or of the script of the whole corpus.

    Raises:
        CheckpointError: a language or a task that the target does not know.
    """
    if config.model.task != "asr":
        return LanguageChoice(config)
    refuse_language(config, bench.checkpoints(config.model)[0])
    target = bench.pair(config).target
    if target.prompts is None:
        config, said = _with_references(config, None, target.letters)
        return LanguageChoice(_with_metric(config, bench), notes=said)
    language, origin = target.prompts.chosen(config.model.language)
    notes, share = target.prompts.notes(config.model.speech_task), None
    if language is None:
        vote = bench.once_for("language", config, lambda: detected(config, bench))
        language, share = vote.shares[0]
        notes += [vote.note] if vote.note else []
    prompt = target.prompts.prompt(language, config.model.speech_task)
    config, said = _with_references(config, prompt, ())
    config = replace(config, model=replace(config.model, language=prompt.language))
    return LanguageChoice(_with_metric(config, bench), prompt, origin, share, (*notes, *said))


def _with_metric(config: Config, bench: Workbench) -> Config:
    """The configuration with the rate that is compared, the same for the corpus, its parts and dev."""
    if config.data.metric != AUTO:
        return config
    texts = [text for text in bench.audio(config).corpus.column("text") if text]
    return replace(config, data=replace(config.data, metric=leading_metric(config.data.language, texts)))


@torch.inference_mode()
def detected(config: Config, bench: Workbench) -> Vote:
    """Let the unmerged target tell the language of the first clips; their probabilities are summed.

    Every process gets the answer of the main one.
    """
    pair, audio = bench.pair(config), bench.audio(config)
    pair.merger.restore()
    target, clips = pair.target, min(CLIPS, len(audio.samples))
    assert target.prompts is not None
    languages = list(target.prompts.languages)
    total = torch.zeros(len(languages), dtype=torch.float64)
    with bench.terminal.status("detecting the language"):
        for i in range(clips):
            hidden = target.advance(target.front([audio.wave(i)[: SECONDS * RATE]]), 0, target.depth)
            total += target.tongues(hidden)[0].double().cpu()
    shares = zip(languages, (total / clips).tolist(), strict=True)
    return processes.from_main(Vote(tuple(sorted(shares, key=lambda one: -one[1])), clips))


@dataclass(frozen=True)
class Forecast:
    """How a recogniser will write, from its files alone.

    Attributes:
        language: None: it will be detected.
        origin: where the language is from; ``letters``: those of a CTC vocabulary.
        prompt: the decoder's, None without a decoder.
        normalizer: None where it follows from a language that will be detected.
        delimiter: of a CTC vocabulary, the token between words.
        notes: sentences on what is odd.
    """

    language: str | None
    origin: Literal["config", "generation_config", "vocabulary", "detected", "letters"] | None
    prompt: list[str] | None
    normalizer: str | None
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


def foreseen(config: Config, checkpoint: Checkpoint) -> Forecast | None:
    """Return what `settled` will decide, from the target's files alone; what the data say is left aside.

    None for audio events, and for an encoder alone. Raises what `settled` raises.
    """
    if config.model.task != "asr":
        return None
    refuse_language(config, checkpoint)
    config = replace(config, data=replace(config.data, language=None, normalizer=AUTO))
    if not any((checkpoint.folder / name).is_file() for name in TOKENIZERS):
        return None  # an encoder alone can be inspected and merged
    if not family_of(checkpoint, "text").takes_language:
        vocabulary = Vocabulary.of(checkpoint)
        data = _with_references(config, None, vocabulary.alphabet)[0].data
        return Forecast(data.language, "letters", None, data.normalizer, delimiter=vocabulary.word)
    prompts = Prompts.of(checkpoint, load_tokenizer(checkpoint))
    language, origin = prompts.chosen(config.model.language)
    notes = tuple(prompts.notes(config.model.speech_task))
    if language is None:
        example = prompts.prompt(next(iter(prompts.languages)), config.model.speech_task)
        tokens = [example.tokens[0], "<|LANGUAGE|>", *example.tokens[2:]]
        return Forecast(None, origin, tokens, None, notes=notes)
    prompt = prompts.prompt(language, config.model.speech_task)
    data = _with_references(config, prompt, ())[0].data
    return Forecast(language, origin, list(prompt.tokens), data.normalizer, notes=notes)


def refuse_language(config: Config, checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where a language or a task is asked of a target without a decoder."""
    if family_of(checkpoint, "text").takes_language:
        return
    for key, value, default in (
        ("language", config.model.language, None),
        ("speech_task", config.model.speech_task, "transcribe"),
    ):
        if value != default:
            raise CheckpointError(
                f"model.{key}={value}: {checkpoint.id} ({checkpoint.model_type}) writes what its letters allow and is"
                f" told no {key}. Leave model.{key} out"
                + ("; say data.language for that of the references." if key == "language" else ".")
            )


def _with_references(config: Config, prompt: Prompt | None, letters: Sequence[str]) -> tuple[Config, tuple[str, ...]]:
    """The configuration with the references' language and their normalizer, and what is odd about the two."""
    data, notes = config.data, []
    written = None if prompt is None else "en" if prompt.task == "translate" else prompt.language
    stated = None if data.language is None else tag_of(data.language)
    language = stated or written or language_of_alphabet(letters)
    if stated is not None and written is not None and bare_code(written) != bare_code(stated):
        notes.append(
            f"the references are in {name_of(stated)} (data.language), the decoder writes {name_of(str(written))}"
        )
    normalizer = data.normalizer
    if normalizer == AUTO:
        normalizer = default_normalizer(language, prompt is not None)
    elif normalizer in FOR_ENGLISH and bare_code(language) not in ("", "en"):
        notes.append(f"data.normalizer={normalizer}: is for English, the references are in {name_of(str(language))}")
    return replace(config, data=replace(data, language=language, normalizer=normalizer)), tuple(notes)
