"""What normalizers make of sentences."""

from __future__ import annotations

from mam.scoring.coverage import lost_letters
from mam.scoring.text import NORMALIZERS, normalizer_for
from scripts.reference.markdown import table

SENTENCES = (
    "It's twenty-one, Mr. O'Neil!",
    "Müller paid $1,234.56.",
    "on the 21st of May 1862",
    "in the 1960s, or 2005",
    "J. R. R. Tolkien's colour",
    "3.5 percent of £20 million",
    "He can't; I won't.",
    "Um, well [coughs] yes (really)",
    "agent 007 at five o'clock",
    "naïve café — “quoted”",
)

SAID = (
    ("de", "Am 3. Mai: Straße, 1.234,5 km"),
    ("fr", "L’hôtel coûte 1\u202f200 €"),
    ("tr", "IŞIK, İzmir"),
    ("ru", "Привет, world! 21"),
    ("he", 'צה"ל, שָׁלוֹם'),
    ("fa", "می\u200cخواهم ۲۱"),
    ("hi", "नमस्ते, १२३ लोग"),
    ("ta", "வணக்கம் உலகம்"),
    ("th", "น้ำ ๓ แก้ว"),
    ("ko", "안녕하세요, 3명"),
    ("ja", "５月、良い天気"),
    ("vi", "Tiếng Việt (số 5)"),
    ("yo", "Ẹ̀kọ́ Yorùbá"),
    (None, "İstanbul 1,234,567 3.5"),
)


def normalizers() -> str:
    """What each normalizer makes of ten sentences."""
    names = [name for name in NORMALIZERS if name != "none"]
    rows = [[sentence, *(NORMALIZERS[name](sentence) for name in names)] for sentence in SENTENCES]
    return table(["`none`", *(f"`{name}`" for name in names)], rows)


def languages() -> str:
    """What becomes of other languages than English, and what the other normalizers lose of them."""
    others = ("basic", "hubert_english")
    rows = []
    for language, sentence in SAID:
        lost = [f"{100 * lost_letters([sentence], NORMALIZERS[name]):.0f} %" for name in others]
        made = [normalizer_for(name, language)(sentence) for name in ("multilingual", "basic")]
        rows.append([language or "unknown", sentence, *made, *lost])
    heading = ["language", "`none`", "`multilingual`", "`basic`", *(f"lost by `{name}`" for name in others)]
    return table(heading, rows)
