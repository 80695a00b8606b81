"""Languages by Whisper's codes and English names, and language tags of references, which may be in other languages."""

from __future__ import annotations

import re

# Copied from transformers.models.whisper.tokenization_whisper, which takes seconds to import.
LANGUAGES = {
    "en": "english",
    "zh": "chinese",
    "de": "german",
    "es": "spanish",
    "ru": "russian",
    "ko": "korean",
    "fr": "french",
    "ja": "japanese",
    "pt": "portuguese",
    "tr": "turkish",
    "pl": "polish",
    "ca": "catalan",
    "nl": "dutch",
    "ar": "arabic",
    "sv": "swedish",
    "it": "italian",
    "id": "indonesian",
    "hi": "hindi",
    "fi": "finnish",
    "vi": "vietnamese",
    "he": "hebrew",
    "uk": "ukrainian",
    "el": "greek",
    "ms": "malay",
    "cs": "czech",
    "ro": "romanian",
    "da": "danish",
    "hu": "hungarian",
    "ta": "tamil",
    "no": "norwegian",
    "th": "thai",
    "ur": "urdu",
    "hr": "croatian",
    "bg": "bulgarian",
    "lt": "lithuanian",
    "la": "latin",
    "mi": "maori",
    "ml": "malayalam",
    "cy": "welsh",
    "sk": "slovak",
    "te": "telugu",
    "fa": "persian",
    "lv": "latvian",
    "bn": "bengali",
    "sr": "serbian",
    "az": "azerbaijani",
    "sl": "slovenian",
    "kn": "kannada",
    "et": "estonian",
    "mk": "macedonian",
    "br": "breton",
    "eu": "basque",
    "is": "icelandic",
    "hy": "armenian",
    "ne": "nepali",
    "mn": "mongolian",
    "bs": "bosnian",
    "kk": "kazakh",
    "sq": "albanian",
    "sw": "swahili",
    "gl": "galician",
    "mr": "marathi",
    "pa": "punjabi",
    "si": "sinhala",
    "km": "khmer",
    "sn": "shona",
    "yo": "yoruba",
    "so": "somali",
    "af": "afrikaans",
    "oc": "occitan",
    "ka": "georgian",
    "be": "belarusian",
    "tg": "tajik",
    "sd": "sindhi",
    "gu": "gujarati",
    "am": "amharic",
    "yi": "yiddish",
    "lo": "lao",
    "uz": "uzbek",
    "fo": "faroese",
    "ht": "haitian creole",
    "ps": "pashto",
    "tk": "turkmen",
    "nn": "nynorsk",
    "mt": "maltese",
    "sa": "sanskrit",
    "lb": "luxembourgish",
    "my": "myanmar",
    "bo": "tibetan",
    "tl": "tagalog",
    "mg": "malagasy",
    "as": "assamese",
    "tt": "tatar",
    "haw": "hawaiian",
    "ln": "lingala",
    "ha": "hausa",
    "ba": "bashkir",
    "jw": "javanese",
    "su": "sundanese",
    "yue": "cantonese",
}
ALIASES = {
    "burmese": "my",
    "valencian": "ca",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "pushto": "ps",
    "panjabi": "pa",
    "moldavian": "ro",
    "moldovan": "ro",
    "sinhalese": "si",
    "castilian": "es",
    "mandarin": "zh",
}
# Three-letter codes (ISO 639-2 and -3) and the two-letter code of the same language.
_LONG_CODES = """
eng en, zho zh, chi zh, cmn zh, deu de, ger de, spa es, rus ru, kor ko, fra fr, fre fr, jpn ja, por pt, tur tr,
pol pl, cat ca, nld nl, dut nl, ara ar, arb ar, swe sv, ita it, ind id, hin hi, fin fi, vie vi, heb he, ukr uk,
ell el, gre el, msa ms, may ms, zsm ms, ces cs, cze cs, ron ro, rum ro, dan da, hun hu, tam ta, nor no, nob no,
tha th, urd ur, hrv hr, bul bg, lit lt, lat la, mri mi, mao mi, mal ml, cym cy, wel cy, slk sk, slo sk, tel te,
fas fa, per fa, pes fa, lav lv, lvs lv, ben bn, srp sr, aze az, azj az, slv sl, kan kn, est et, ekk et, mkd mk,
mac mk, bre br, eus eu, baq eu, isl is, ice is, hye hy, arm hy, nep ne, npi ne, mon mn, khk mn, bos bs, kaz kk,
sqi sq, alb sq, als sq, swa sw, swh sw, glg gl, mar mr, pan pa, sin si, khm km, sna sn, yor yo, som so, afr af,
oci oc, kat ka, geo ka, bel be, tgk tg, snd sd, guj gu, amh am, yid yi, lao lo, uzb uz, uzn uz, fao fo, hat ht,
pus ps, pbt ps, tuk tk, nno nn, mlt mt, san sa, ltz lb, mya my, bur my, bod bo, tib bo, tgl tl, fil tl, mlg mg,
plt mg, asm as, tat tt, lin ln, hau ha, bak ba, jav jw, sun su
"""
_RETIRED = {"iw": "he", "nb": "no", "in": "id", "ji": "yi", "jv": "jw", "mo": "ro"}
_SHORT: dict[str, str] = {pair.split()[0]: pair.split()[1] for pair in _LONG_CODES.split(",")} | _RETIRED
_CODES = {name: code for code, name in LANGUAGES.items()} | ALIASES | {code: code for code in LANGUAGES}


def whisper_code(language: str) -> str | None:
    """Return Whisper's code for a language, given by its code or English name in any case; None if unknown."""
    return _CODES.get(language.strip().lower())


def tag_of(language: str) -> str | None:
    """Return the code of any language, with script and region if given: ``it``, ``pt-BR``, ``zh-Hans``.

    Names that Whisper knows, three-letter codes (ISO 639-2 and -3) and retired codes become the short code. Other
    languages keep their code (``ga``, ``ckb``). The result is None if ``language`` is not a code.
    """
    match = re.fullmatch(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}))?", language.strip().lower())
    if match is None:
        return whisper_code(language)
    script, region = match[2], match[3]
    bare = _SHORT.get(match[1], match[1])
    return bare + (f"-{script.title()}" if script else "") + (f"-{region.upper()}" if region else "")


def name_of(code: str) -> str:
    """Return name and code for display: ``Italian (it)``."""
    return f"{LANGUAGES[code].title()} ({code})" if code in LANGUAGES else code
