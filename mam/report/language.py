"""What a run says of its language: the decoder's, the references', and the normalizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mam.scoring.language_codes import name_of

FROM = {
    "config": "model.language",
    "generation_config": "by generation_config.json",
    "vocabulary": "an English-only vocabulary",
    "detected": "detected",
    "letters": "its letters",
}


def language_text(decoder: Mapping[str, Any]) -> str:
    """Language and task of a decoder, and where they are from."""
    share = "" if decoder.get("share") is None else f", {decoder['share']:.0%} of the votes"
    return f"{name_of(decoder['language'])}, {FROM[decoder['from']]}{share}"


def text_lines(text: Mapping[str, Any] | None) -> list[str]:
    """How a recogniser will write, for `mam inspect`: language, decoder prompt, normalizer."""
    if text is None:
        return []
    unknown = "detected on the audio of a run" if text["from"] == "detected" else "unknown, say data.language"
    language = f"{unknown}" if text["language"] is None else language_text(text)
    prompt = "none (CTC)" if text["prompt"] is None else prompt_text(text["prompt"])
    normalizer = text["normalizer"] or "by the language that is detected"
    lines = [f"language    {language}", f"prompt      {prompt}", f"normalizer  {normalizer}"]
    if "delimiter" in text:
        lines.append(f"delimiter   {'none' if text['delimiter'] is None else repr(text['delimiter'])}")
    return lines


def prompt_text(tokens: Sequence[str]) -> str:
    """The decoder's prompt as one word."""
    return "".join(tokens)


def run_lines(result: Mapping[str, Any]) -> list[str]:
    """How the target of a finished run wrote; nothing for audio events and for runs that recorded nothing of it."""
    data, decoder = result["data"], result["model"].get("decoder")
    if data["normalizer"] is None or "language" not in data:
        return []
    language = "unknown" if data["language"] is None else name_of(data["language"])
    if decoder is None:
        return [f"text    language {language}, normalizer {data['normalizer']}"]
    references = "" if decoder["language"] == data["language"] else f", references in {language}"
    return [
        f"text    {language_text(decoder)}{references}, normalizer {data['normalizer']}",
        f"prompt  {prompt_text(decoder['prompt'])}",
    ]
