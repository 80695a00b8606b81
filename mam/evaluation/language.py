"""The language of a run: the decoder's, that of the references, and the normalizer that follows."""

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
from mam.models.families import family_of
from mam.models.hub import load_tokenizer
from mam.models.prompt import Origin, Prompt, Prompts
from mam.models.vocabulary import Vocabulary
from mam.records.parts import DecoderRecord, SpeechTask
from mam.scoring.language_codes import name_of, tag_of
from mam.scoring.languages import bare_code, language_of_alphabet, leading_metric
from mam.scoring.text import default_normalizer

CLIPS, SECONDS = 16, 30  # a language is detected on the first seconds of the first clips
CLEAR = 2 / 3  # share of the votes below which a detection counts as doubtful
TOKENIZERS = ("vocab.json", "tokenizer.json", "tokenizer_config.json")
FOR_ENGLISH = ("hubert_english", "whisper_english", "open_asr_leaderboard")


@dataclass(frozen=True)
class LanguageChoice:
    """A configuration with language, normalizer and metric in place of null and auto.

    Attributes:
        config: the configuration.
        prompt: the decoder's; None without a decoder.
        origin: where the decoder's language comes from.
        share: its share of the votes, if it was detected.
        notes: sentences for the diagnostics.
    """

    config: Config
    prompt: Prompt | None = None
    origin: Origin | None = None
    share: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def decoder(self) -> DecoderRecord | None:
        """The decoder's language, task and prompt, for the record."""
        if self.prompt is None or self.origin is None:
            return None
        prompt = self.prompt
        task: SpeechTask = "translate" if prompt.task == "translate" else "transcribe"
        return DecoderRecord(prompt.language, task, list(prompt.tokens), self.origin, self.share)


@dataclass(frozen=True)
class Vote:
    """Mean probability of each language over the clips used, the most probable first."""

    shares: tuple[tuple[str, float], ...]
    clips: int

    @property
    def note(self) -> str | None:
        """A sentence if the vote is doubtful, else None."""
        (first, share), *others = self.shares
        if share >= CLEAR:
            return None
        second = f", {name_of(others[0][0])} {100 * others[0][1]:.0f} %" if others else ""
        return (
            f"the language was detected on {self.clips} clips but is uncertain: {name_of(first)} has {100 * share:.0f}"
            " % of the"
            f" votes{second}. Set model.language=CODE"
        )


def settled(config: Config, bench: Workbench) -> LanguageChoice:
    """Decide once for the whole run: the decoder's language, the references' language, the normalizer and the metric.

    The decoder's language is ``model.language``, else that of the checkpoint, else English for an English-only
    vocabulary, else the one that the unmerged target detects. The references' language is ``data.language``, else the
    one that the decoder writes, else that of a CTC vocabulary's letters. The metric follows from the references'
    language, or from the script of the whole corpus.

    Raises:
        CheckpointError: a language or a task that the target does not support.
    """
    if config.model.task != "asr":
        return LanguageChoice(config)
    refuse_language(config, bench.parents(config).target)
    target = bench.pair(config).target
    if target.prompts is None:
        config, remarks = _with_references(config, None, target.letters)
        return LanguageChoice(_with_metric(config, bench), notes=remarks)
    language, origin = target.prompts.chosen(config.model.language)
    notes, share = target.prompts.notes(config.model.speech_task), None
    if language is None:
        vote = bench.once_for("language", config, lambda: detected(config, bench))
        language, share = vote.shares[0]
        notes += [vote.note] if vote.note else []
    prompt = target.prompts.prompt(language, config.model.speech_task)
    config, remarks = _with_references(config, prompt, ())
    config = replace(config, model=replace(config.model, language=prompt.language))
    return LanguageChoice(_with_metric(config, bench), prompt, origin, share, (*notes, *remarks))


def _with_metric(config: Config, bench: Workbench) -> Config:
    """Return the configuration with the metric to compare, the same for the corpus, its parts and dev."""
    if config.data.metric != AUTO:
        return config
    texts = [text for text in bench.audio(config).corpus.column("text") if text]
    return replace(config, data=replace(config.data, metric=leading_metric(config.data.language, texts)))


@torch.inference_mode()
def detected(config: Config, bench: Workbench) -> Vote:
    """Detect the language of the first clips with the unmerged target; their probabilities are averaged.

    Every process gets the result of the main one.
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
    return processes.from_main(Vote(tuple(sorted(shares, key=lambda entry: -entry[1])), clips))


@dataclass(frozen=True)
class Forecast:
    """The language, prompt and normalizer that a recogniser will use, derived from its files alone.

    Attributes:
        language: None if it will be detected.
        origin: where the language comes from; ``letters`` are those of a CTC vocabulary.
        prompt: the decoder's; None without a decoder.
        normalizer: None if it depends on a language that will be detected.
        delimiter: the token between words in a CTC vocabulary.
        notes: sentences on oddities.
    """

    language: str | None
    origin: Literal["config", "generation_config", "vocabulary", "detected", "letters"] | None
    prompt: list[str] | None
    normalizer: str | None
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


def foreseen(config: Config, checkpoint: Checkpoint) -> Forecast | None:
    """Return the decisions of `settled` that follow from the target's files alone, without the data.

    None for audio events and for an encoder alone. Raises the errors of `settled`.
    """
    if config.model.task != "asr":
        return None
    refuse_language(config, checkpoint)
    config = replace(config, data=replace(config.data, language=None, normalizer=AUTO))
    if not any((checkpoint.folder / name).is_file() for name in TOKENIZERS):
        return None  # an encoder without a tokenizer can still be inspected and merged
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
    """Raise CheckpointError if a language or a task is set for a target without a decoder."""
    if family_of(checkpoint, "text").takes_language:
        return
    for key, value, default in (
        ("language", config.model.language, None),
        ("speech_task", config.model.speech_task, "transcribe"),
    ):
        if value != default:
            raise CheckpointError(
                f"model.{key}={value}: has no effect on {checkpoint.id} ({checkpoint.model_type}), which has no such"
                f" setting. Leave model.{key} out"
                + (". The language of the references is data.language." if key == "language" else ".")
            )


def _with_references(config: Config, prompt: Prompt | None, letters: Sequence[str]) -> tuple[Config, tuple[str, ...]]:
    """Return the configuration with the references' language and normalizer, and sentences on oddities of the two."""
    data, notes = config.data, []
    written = None if prompt is None else "en" if prompt.task == "translate" else prompt.language
    stated = None if data.language is None else tag_of(data.language)
    language = stated or written or language_of_alphabet(letters)
    if stated is not None and written is not None and bare_code(written) != bare_code(stated):
        notes.append(
            f"the references are in {name_of(stated)} (data.language), but the decoder writes {name_of(str(written))}"
        )
    normalizer = data.normalizer
    if normalizer == AUTO:
        normalizer = default_normalizer(language, prompt is not None)
    elif normalizer in FOR_ENGLISH and bare_code(language) not in ("", "en"):
        notes.append(
            f"data.normalizer={normalizer}: is for English, but the references are in {name_of(str(language))}"
        )
    return replace(config, data=replace(data, language=language, normalizer=normalizer)), tuple(notes)
