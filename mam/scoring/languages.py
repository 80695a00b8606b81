"""Facts about languages that determine normalisation and the metric: codes, numbers and scripts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal, NamedTuple


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Codes that are replaced by another code.
_ALIASES = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "nb": "no", "cmn": "zh", "fil": "tl"}
# num2words' codes. For unknown codes it falls back on the first two letters ("fil" would be
# Finnish), hence this list. Amharic (am) is excluded: num2words 0.5.14 raises TypeError for 1100.
_NUM2WORDS = {
    code: code
    for code in _codes(
        "ar az be bn ca ce cs cy da de en eo es fa fi fr he hu id is it ja kn ko lt lv nl no pl pt ro ru sk sl sr sv"
        " te tet tg th tr uk vi"
    )
} | {"kk": "kz"}
_NUM2WORDS_REGIONS = {"en_IN", "en_NG", "fr_BE", "fr_CH", "fr_DZ", "pt_BR"}

_POINT = _codes("en zh yue ja ko th he hi bn ta te kn ml mr gu pa ur ne si my ms tl sw cy ga mt yo ha ig zu am fa")
_COMMA = _codes("de es it pt nl id tr da el ro vi sr hr bs sl az is ca gl eu mk jv su km lo")
_SPACE = _codes("fr ru uk be pl cs sk hu bg fi sv no lt lv et kk ky eo ka hy sq tg")
# Written without spaces between words: Chinese (with Cantonese, Wu, Min, Hakka, Gan, classical), Japanese, Thai, Lao,
# Burmese, Khmer, Shan, Tibetan, Dzongkha, Yi. Korean and Vietnamese have spaces.
_WITHOUT_SPACES = _codes("zh yue wuu nan hak gan lzh ja th lo my km shn bo dz ii")
_POINT_REGIONS = {"es_MX", "es_US", "es_GT", "es_HN", "es_NI", "es_PA", "es_PE", "es_PR", "es_SV", "es_DO", "de_CH"}

# Scripts written without spaces between words, as ranges of a character class: Thai, Lao, Tibetan, Myanmar, Khmer, Tai
# Le, New Tai Lue, Tai Tham, Kana and Bopomofo, Han with its radicals, marks and numerals, Yi, Tai Viet, and Kana, Han
# beyond the first plane.
UNSPACED = (
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u19e0-\u1aaf\u2e80-\u2fdf\u3005-\u3007"
    "\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua9e0-\ua9ff"
    "\uaa60-\uaadf\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b2ff\U00020000-\U0003ffff"
)

# The spoken word for the decimal sign, in languages in which it is a single invariable word.
_POINT_WORDS = {
    "ar": "فاصلة",
    "be": "коска",
    "bn": "দশমিক",
    "ca": "coma",
    "cy": "pwynt",
    "da": "komma",
    "de": "Komma",
    "en": "point",
    "eo": "komo",
    "es": "coma",
    "fa": "ممیز",
    "fi": "pilkku",
    "fr": "virgule",
    "he": "נקודה",
    "id": "koma",
    "is": "komma",
    "it": "virgola",
    "ja": "点",
    "ko": "점",
    "nl": "komma",
    "no": "komma",
    "pl": "przecinek",
    "pt": "vírgula",
    "ro": "virgulă",
    "sv": "komma",
    "th": "จุด",
    "tr": "virgül",
    "uk": "кома",
    "vi": "phẩy",
}


class Habit(NamedTuple):
    """The way a language writes numbers: the sign that groups thousands and the decimal sign; empty if unknown."""

    group: str = ""
    point: str = ""


def bare_code(language: str | None) -> str:
    """Return ``language`` without script or region: ``de`` for ``de-DE``, ``DE``, ``de_AT``; empty for None."""
    bare = re.split("[-_]", (language or "").strip().lower())[0]
    return _ALIASES.get(bare, bare)


def habit_of(language: str | None) -> Habit:
    """Return how ``language`` writes numbers."""
    code = bare_code(language)
    if code in _POINT or _with_region(language) in _POINT_REGIONS:
        return Habit(",", ".")
    if code in _COMMA:
        return Habit(".", ",")
    return Habit(" ", ",") if code in _SPACE else Habit()


def point_word(language: str | None) -> str:
    """Return the spoken word for the decimal sign, empty if unknown; Spanish has a word for each sign."""
    if bare_code(language) == "es" and habit_of(language).point == ".":
        return "punto"
    return _POINT_WORDS.get(bare_code(language), "")


def num2words_code(language: str | None) -> str | None:
    """Return num2words' code for ``language``, or None if num2words does not support it."""
    region = _with_region(language)
    return region if region in _NUM2WORDS_REGIONS else _NUM2WORDS.get(bare_code(language))


def leading_metric(language: str | None, references: Iterable[str] = ()) -> Literal["wer", "cer"]:
    """Return the metric to compare: ``cer`` for languages written without spaces between words, else ``wer``.

    An unknown language is judged by ``references``: ``cer`` if most of their letters belong to such scripts.
    """
    code = bare_code(language)
    if code:
        is_romanised = "latn" in re.split("[-_]", (language or "").lower())
        return "cer" if code in _WITHOUT_SPACES and not is_romanised else "wer"
    letters = [c for text in references for c in text if unicodedata.category(c)[0] in "LM"]
    unspaced = re.findall(f"[{UNSPACED}]", "".join(letters))
    return "cer" if 2 * len(unspaced) > len(letters) else "wer"


def language_of_alphabet(letters: Iterable[str]) -> str | None:
    """Return ``en`` if a CTC vocabulary writes only A to Z (of either case) and the apostrophe, else None.

    ``letters`` are the tokens that stand for text, without special tokens and the word delimiter.
    """
    characters = set("".join(letters))
    return "en" if characters - {"'"} and all(c == "'" or (c.isascii() and c.isalpha()) for c in characters) else None


def _with_region(language: str | None) -> str:
    parts = re.split("[-_]", (language or "").strip())
    return f"{bare_code(language)}_{parts[-1].upper()}" if len(parts) > 1 else ""
