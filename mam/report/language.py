"""Lines on the language of a run or a checkpoint: the decoder's, that of the references, and the normalizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mam.records.result import RunResult
from mam.records.text import decoder_text, language_text
from mam.scoring.language_codes import name_of

if TYPE_CHECKING:
    from mam.evaluation.language import Forecast


def text_lines(text: Forecast | None) -> list[str]:
    """Return how a recogniser will write, for `mam inspect`: language, decoder prompt, normalizer."""
    if text is None:
        return []
    if text.language is not None and text.origin is not None:
        language = language_text(text.language, text.origin)
    elif text.origin == "detected":
        language = "detected from the audio when run"
    else:
        language = "unknown; set data.language"
    prompt = "none (CTC)" if text.prompt is None else prompt_text(text.prompt)
    normalizer = text.normalizer or "chosen by the detected language"
    lines = [f"language    {language}", f"prompt      {prompt}", f"normalizer  {normalizer}"]
    if text.origin == "letters":
        lines.append(f"delimiter   {'none' if text.delimiter is None else repr(text.delimiter)}")
    return lines


def prompt_text(tokens: Sequence[str]) -> str:
    """Return the decoder's prompt as one word."""
    return "".join(tokens)


def run_lines(result: RunResult) -> list[str]:
    """Return the language, prompt and normalizer of a finished run; empty for audio events."""
    data, decoder = result.data, result.model.decoder
    if data.normalizer is None:
        return []
    language = "unknown" if data.language is None else name_of(data.language)
    if decoder is None:
        return [f"text    language {language}, normalizer {data.normalizer}"]
    references = "" if decoder.language == data.language else f", references in {language}"
    return [
        f"text    {decoder_text(decoder)}{references}, normalizer {data.normalizer}",
        f"prompt  {prompt_text(decoder.prompt)}",
    ]
