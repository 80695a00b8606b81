"""The outputs of a CTC head as text, read from a checkpoint's own files.

transformers (5.23) loads a word delimiter other than ``|`` as ``|``, which is then the unknown token. It adds a missing
delimiter as an output that the head does not have. Here the files decide: vocab.json, tokenizer_config.json,
special_tokens_map.json and added_tokens.json, compared with the size of the head.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from mam.errors import CheckpointError
from mam.models.checkpoints import Checkpoint
from mam.models.tokens import Tokens, read_tokens
from mam.scoring.languages import UNSPACED

PIPE = "|"
# Tokens that write nothing in a transcript, even if the files do not mark them.
SERVICE = {"<pad>", "<s>", "</s>", "<unk>", "[pad]", "[unk]", "[cls]", "[sep]", "[mask]"}
BLANKS = {"<blank>", "[blank]", "<blk>", "[blk]", "<ctc>", "<ctc_blank>", "<eps>", "<epsilon>"}
DELIMITERS = (PIPE, "_", "▁", "<space>", "[space]", "<sp>")  # suggestions for a message; never assumed


@dataclass(frozen=True)
class Vocabulary:
    """The text of each output: a letter, ``" "`` between words, ``""`` for outputs that write nothing.

    ``delimiter`` is the output between words and ``word`` its token; both are None in scripts without spaces.
    ``language`` is set if the files have a vocabulary for each of several languages. ``is_lowered`` means that
    transcripts are lower case, whatever the case of the letters.
    """

    letters: tuple[str, ...]
    blank: int
    delimiter: int | None
    word: str | None
    is_lowered: bool = False
    language: str | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Vocabulary:
        """Read the vocabulary of a checkpoint.

        Raises:
            CheckpointError: There are no letters, there are word pieces or phonemes instead of letters, the blank or
                the delimiter is not an output of its own, or outputs and tokens do not match.
        """
        tokens = read_tokens(checkpoint)
        size = checkpoint.number("vocab_size")
        _refuse_misfit(tokens, size, checkpoint.id)
        blank = _blank(tokens, checkpoint.with_defaults("pad_token_id"), size, checkpoint.id)
        delimiter = _delimiter(tokens, size, blank, checkpoint.id)
        by_output = {output: token for token, output in tokens.outputs.items()}
        silent = {blank, *(tokens.outputs[token] for token in tokens.outputs if _is_mark(token, tokens))}
        letters = tuple("" if i in silent else by_output[i] for i in range(size))
        if delimiter is not None:
            letters = (*letters[:delimiter], " ", *letters[delimiter + 1 :])
        word = None if delimiter is None else by_output[delimiter]
        return cls(letters, blank, delimiter, word, tokens.is_lowered, tokens.language)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for every unusual way in which transcripts are read."""
        notes = []
        if self.word is None:
            notes.append(
                "its vocabulary has no word delimiter, and its script is written without spaces: transcripts have"
                " no spaces"
            )
        elif self.word != PIPE:
            notes.append(f"words are separated by {self.word!r}, as the tokenizer's files say")
        if self.language is not None:
            notes.append(f"uses the vocabulary for target_lang={self.language}")
        return tuple(notes)

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The letters that stand for text, without the word delimiter."""
        return tuple(letter for letter in self.letters if letter.strip())

    def text(self, ids: Sequence[int]) -> str:
        """Decode greedy CTC: collapse repeats, then remove blanks, so that a blank separates double letters ("HELLO").

        transformers' own decoding merges double letters if it skips special tokens (5.23).
        """
        letters = "".join(self.letters[i] for i, _ in groupby(ids))
        words = " ".join(letters.split())
        return words.lower() if self.is_lowered else words

    def spell(self, text: str, normalise: Callable[[str], str]) -> tuple[list[int], list[str]]:
        """Return the outputs of the normalised text, and the characters that the vocabulary lacks.

        Tries the text as it is, composed and decomposed (NFC, NFD), each in its own, upper and lower case, and takes
        the first form with the fewest missing characters. Multi-character letters take precedence over their parts, as
        in transformers.
        """
        plain = (" " if self.delimiter is not None else "").join(normalise(text).split())
        forms = [plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))]
        spelled = [self._outputs(case) for form in forms for case in (form, form.upper(), form.lower())]
        return min(spelled, key=lambda spelling: len(spelling[1]))

    @cached_property
    def _known(self) -> dict[str, int]:
        known = {letter: i for i, letter in enumerate(self.letters) if letter.strip()}
        return known if self.delimiter is None else known | {" ": self.delimiter}

    def _outputs(self, text: str) -> tuple[list[int], list[str]]:
        outputs: list[int] = []
        lacking: list[str] = []
        longest = max(map(len, self._known), default=1)
        position = 0
        while position < len(text):
            length = next((n for n in range(longest, 0, -1) if text[position : position + n] in self._known), 0)
            if length:
                outputs.append(self._known[text[position : position + length]])
            else:
                lacking.append(text[position])
            position += length or 1
        return outputs, lacking


def _refuse_misfit(tokens: Tokens, size: int, name: str) -> None:
    """Raise CheckpointError if tokens and outputs do not match, or tokens are not letters."""
    named = {output for output in tokens.outputs.values() if 0 <= output < size}
    lacking = size - len(named)  # the file may claim a size that could not be counted through
    if lacking:
        raise CheckpointError(
            f"{name}: {lacking} of its {size} outputs have no token in vocab.json. Use the vocabulary that it was"
            " trained with."
        )
    beyond = [token for token in tokens.letters if tokens.outputs[token] >= size and not _is_mark(token, tokens)]
    beyond = [token for token in beyond if token != tokens.delimiter]  # reported by `_delimiter`
    if beyond:
        raise CheckpointError(
            f"{name}: {len(beyond)} tokens of vocab.json lie beyond its {size} outputs ({_phrase(beyond)}). Use the"
            " vocabulary that it was trained with."
        )
    pieces = [token for token in tokens.letters if _is_piece(token) and token != tokens.delimiter]
    if pieces:
        raise CheckpointError(
            f"{name}: its vocabulary has subwords ({_phrase(pieces)}), but mam supports only letter-based CTC"
            " vocabularies. Use a checkpoint that was trained on letters."
        )
    blanks = [token for token, output in tokens.outputs.items() if token.casefold() in BLANKS and output < size]
    blanks = [token for token in blanks if token != tokens.pad]
    if blanks:
        raise CheckpointError(
            f"{name}: vocab.json has both {blanks[0]!r} and the pad token {tokens.pad!r}, which transformers uses as"
            f" the CTC blank. If {blanks[0]!r} is the blank, set pad_token in tokenizer_config.json to it"
            f" and pad_token_id={tokens.outputs[blanks[0]]} in config.json."
        )


def _blank(tokens: Tokens, configured: object, size: int, name: str) -> int:
    """Return the blank, which is the pad token; config.json and the tokenizer must agree on it."""
    output = tokens.outputs.get(tokens.pad) if tokens.pad is not None else None
    if not isinstance(configured, int) or configured != output:
        raise CheckpointError(
            f"{name}: the blank is {configured} in config.json (pad_token_id) but {output} in the tokenizer (pad_token"
            f" {tokens.pad!r}). Correct pad_token in tokenizer_config.json or pad_token_id in"
            " config.json."
        )
    if configured >= size:
        raise CheckpointError(
            f"{name}: the blank {tokens.pad!r} is output {configured}, but the head has only {size}. Use the vocabulary"
            " that it was trained with."
        )
    return configured


def _delimiter(tokens: Tokens, size: int, blank: int, name: str) -> int | None:
    """Return the output between words, or None in a script without spaces.

    The delimiter is the one that the files name, else ``|``, else a token that is white space itself. None of these is
    needed if more than half of the letters belong to scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese). Any other vocabulary without a delimiter is rejected, because it would write all words as one.
    """
    delimiter, outputs = tokens.delimiter, tokens.outputs
    if delimiter is None and not tokens.is_delimiter_null and PIPE in outputs:
        delimiter = PIPE
    if delimiter is None or (delimiter == PIPE and PIPE not in outputs):  # transformers writes `|` by default
        delimiter = next((token for token in outputs if token.isspace()), None)
    remedy = 'Set "word_delimiter_token" in tokenizer_config.json to the one used in training.'
    if delimiter is None:
        candidates = [token for token in DELIMITERS if token in outputs]
        letters = [token for token in tokens.letters if unicodedata.category(token[0])[0] in "LM" and len(token) == 1]
        unspaced = [token for token in letters if re.fullmatch(f"[{UNSPACED}]", token)]
        if not candidates and 2 * len(unspaced) > len(letters):
            return None
        hint = f" vocab.json has {_phrase(candidates)}." if candidates else ""
        raise CheckpointError(
            f"{name}: its vocabulary has no word delimiter, so words would run together.{hint} {remedy}"
        )
    place = f"{name}: the word delimiter {delimiter!r}"
    if delimiter not in outputs:
        raise CheckpointError(f"{place} is not in vocab.json. {remedy}")
    if outputs[delimiter] >= size:
        raise CheckpointError(f"{place} is output {outputs[delimiter]}, but the head has only {size}. {remedy}")
    for role, output in (("blank", blank), ("unknown token", outputs.get(tokens.unknown or ""))):
        if outputs[delimiter] == output:
            raise CheckpointError(f"{place} is also the {role} (output {output}). {remedy}")
    return outputs[delimiter]


def _is_piece(token: str) -> bool:
    """Return whether a token is written like a piece of a word."""
    return len(token) > 1 and (token[0] in "▁Ġ" or token.startswith("##") or token.endswith(("@@", "</w>")))


def _is_mark(token: str, tokens: Tokens) -> bool:
    """Return whether a token is only a mark.

    An unknown token that is a letter counts as a letter, because the head writes it.
    """
    if token.casefold() in SERVICE:
        return True
    is_letter = len(token) == 1 and (unicodedata.category(token)[0] in "LMN" or token in "'’")
    return token in tokens.marks and not is_letter


def _phrase(tokens: Sequence[str]) -> str:
    """Return the first tokens as one phrase for a message."""
    return ", ".join(repr(token) for token in tokens[:5]) + (", ..." if len(tokens) > 5 else "")
