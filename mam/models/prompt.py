"""The prompt of Whisper's decoder: tokens for start, language, task and no timestamps, which precede the text.

Training, entropy and decoding use the same prompt. The vocabulary decides which instructions a checkpoint supports,
because generation_config.json is often missing, outdated or derived from config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from mam.errors import CheckpointError, choices
from mam.models.checkpoints import Checkpoint
from mam.models.settings import read_settings
from mam.scoring.language_codes import LANGUAGES, name_of, whisper_code

Origin = Literal["config", "generation_config", "vocabulary", "detected"]
START, END, PLAIN = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
ENGLISH_ONLY, MULTILINGUAL = 51_864, (51_865, 51_866)  # vocabulary sizes of OpenAI's checkpoints
SETTINGS = "generation_config.json"
TAKE = "Use the tokenizer that was published with it."


@dataclass(frozen=True)
class Prompt:
    """The tokens that the decoder starts from, the same for every clip."""

    language: str
    task: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Prompts:
    """The prompts that a Whisper checkpoint supports.

    ``tokens`` maps the tokenizer's tokens to ids, and ``size`` is the number of outputs of the head. ``settings`` is
    the content of generation_config.json, empty if there is no such file.
    """

    name: str
    size: int
    tokens: Mapping[str, int]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, checkpoint: Checkpoint, tokenizer: Any) -> Prompts:
        """Read and check the prompts of a checkpoint.

        Raises:
            CheckpointError: The tokenizer is not the model's, or the settings cannot be read.
        """
        size = checkpoint.number("vocab_size")
        settings = read_settings(checkpoint.folder / SETTINGS)
        prompts = cls(checkpoint.id, size, tokenizer.get_vocab(), settings)
        prompts.check(settings.get("decoder_start_token_id", checkpoint.config.get("decoder_start_token_id")))
        return prompts

    @cached_property
    def is_multilingual(self) -> bool:
        """True if the prompt of the decoder names a language.

        Decided by the size of the vocabulary, else by the id of the end token, else by the settings. Language tokens
        prove nothing, because English-only tokenizers contain them too.
        """
        if self.size in (ENGLISH_ONLY, *MULTILINGUAL):
            return self.size != ENGLISH_ONLY
        by_end = {50_256: False, 50_257: True}.get(self.tokens[END])  # extended vocabularies keep their first tokens
        if by_end is not None:
            return by_end
        setting = self.settings.get("is_multilingual")
        return setting if isinstance(setting, bool) else bool(self.languages)

    @cached_property
    def languages(self) -> dict[str, int]:
        """The ids of the language tokens by code, in Whisper's order."""
        return {code: self.tokens[_quoted(code)] for code in LANGUAGES if _quoted(code) in self.tokens}

    @property
    def tasks(self) -> dict[str, int]:
        """The ids of the task tokens by name."""
        return {
            task: self.tokens[_quoted(task)] for task in ("transcribe", "translate") if _quoted(task) in self.tokens
        }

    def chosen(self, language: str | None) -> tuple[str | None, Origin]:
        """Return the code of the language and its origin; the code is None if the language must be detected.

        Args:
            language: The configured language.

        Raises:
            CheckpointError: The checkpoint does not know the language.
        """
        if not self.is_multilingual:
            if language is not None and whisper_code(language) != "en":
                raise CheckpointError(
                    f"model.language={language}: {self.name} is English-only ({self.size:,} tokens)."
                    " Use a multilingual checkpoint, or leave model.language out."
                )
            return "en", "vocabulary"
        if language is not None:
            return self._known(language, "model.language"), "config"
        stated = self.stated_language
        if stated is None:
            return None, "detected"
        return self._known(
            stated, f"{self.name}: {SETTINGS}: language", " Set model.language=CODE."
        ), "generation_config"

    @property
    def stated_language(self) -> str | None:
        """The language in generation_config.json, given by its key or by an old list of forced tokens.

        A list that was copied from config.json is ignored, because published ones force English for every language.
        """
        stated = self.settings.get("language")
        if stated is not None:
            return str(stated)
        return next((code for code, i in self.languages.items() if i == self._forced(1)), None)

    def prompt(self, language: str, task: str) -> Prompt:
        """Return the prompt for a language and a task.

        Raises:
            CheckpointError: The checkpoint does not know the language or the task.
        """
        if not self.is_multilingual:
            if task != "transcribe":
                raise CheckpointError(
                    f"model.speech_task={task}: {self.name} is English-only and only transcribes."
                    " Use a multilingual checkpoint."
                )
            return self._prompt("en", task, (START, PLAIN))
        code = self._known(language, "model.language")
        if task not in self.tasks:
            raise CheckpointError(f"model.speech_task={task}: the tokenizer of {self.name} has no <|{task}|>. {TAKE}")
        return self._prompt(code, task, (START, _quoted(code), _quoted(task), PLAIN))

    def notes(self, task: str) -> list[str]:
        """Return a sentence for every setting of the checkpoint that a run overrides."""
        notes = []
        setting = self.settings.get("is_multilingual")
        if not self.settings:
            notes.append(
                f"{self.name} has no {SETTINGS}: only the tokens listed in config.json are suppressed while decoding"
            )
        if isinstance(setting, bool) and setting != self.is_multilingual:
            kind = "multilingual" if self.is_multilingual else "English-only"
            notes.append(
                f"{self.name}: is treated as {kind} because of its vocabulary, although its {SETTINGS} has"
                f" is_multilingual={setting}"
            )
        stated = self.stated_task
        if self.is_multilingual and stated is not None and stated != task:
            notes.append(f"{self.name}: its {SETTINGS} has task={stated}, but this run uses model.speech_task={task}")
        if self.settings.get("return_timestamps"):
            notes.append(
                f"{self.name}: its {SETTINGS} asks for timestamps, which mam uses only for recordings over 30 s"
            )
        return notes

    @property
    def stated_task(self) -> str | None:
        """The task that generation_config.json names or forces."""
        stated = self.settings.get("task")
        if stated is not None:
            return str(stated)
        return next((task for task, i in self.tasks.items() if i == self._forced(2)), None)

    def _prompt(self, language: str, task: str, tokens: tuple[str, ...]) -> Prompt:
        ids = tuple(self.tokens[token] for token in tokens)
        stated_ids = {PLAIN: self.settings.get("no_timestamps_token_id")}
        for table in ("lang_to_id", "task_to_id"):
            entries = self.settings.get(table)
            if isinstance(entries, dict):
                stated_ids |= {_quoted(key.strip("<|>")): i for key, i in entries.items()}
        for token, i in zip(tokens, ids, strict=True):
            if stated_ids.get(token) not in (None, i):
                raise CheckpointError(
                    f"{self.name}: {token} is {stated_ids[token]} in its {SETTINGS} but {i} in its tokenizer. {TAKE}"
                )
        return Prompt(language, task, tokens, ids)

    def _known(self, language: str, where: str, remedy: str = "") -> str:
        code = whisper_code(language.strip("<|> "))
        if code is None:
            raise CheckpointError(f"{where}={language}: is not a language that Whisper supports.{remedy}")
        if code not in self.languages:
            raise CheckpointError(
                f"{where}={language}: the tokenizer of {self.name} has no token for {name_of(code)}."
                f" It has: {choices(list(self.languages))}.{remedy}"
            )
        return code

    def _forced(self, position: int) -> int | None:
        """Return the token that an old generation_config.json forces at this position."""
        forced = self.settings.get("forced_decoder_ids")
        if not isinstance(forced, list) or self.settings.get("_from_model_config"):
            return None
        pairs = [pair for pair in forced if isinstance(pair, list) and len(pair) == 2]
        return next((token for place, token in pairs if place == position), None)

    def check(self, start: object) -> None:
        """Raise CheckpointError if the tokenizer is not the model's; ``start`` is the first token in the settings."""
        missing = [token for token in (START, END, PLAIN) if token not in self.tokens]
        if missing:
            raise CheckpointError(f"{self.name}: its tokenizer has no {choices(missing)}. {TAKE}")
        if max(self.tokens.values()) >= self.size:
            raise CheckpointError(
                f"{self.name}: its tokenizer has ids up to {max(self.tokens.values())}, but its head has {self.size}"
                f" outputs. {TAKE}"
            )
        if start is not None and start != self.tokens[START]:
            raise CheckpointError(
                f"{self.name}: {START} is {self.tokens[START]} in its tokenizer, but decoder_start_token_id is {start}."
                f" {TAKE}"
            )
        if self.is_multilingual and not self.languages:
            raise CheckpointError(
                f"{self.name}: is multilingual ({self.size:,} tokens), but its tokenizer has no language tokens. {TAKE}"
            )


def _quoted(word: str) -> str:
    return f"<|{word}|>"
