"""The normalizer for every language: what is kept, what is one spelling, and how numbers are read."""

import pytest

from mam.scoring.text import NORMALIZERS, normalizer_for


@pytest.mark.parametrize(
    ("language", "raw", "expected"),
    [
        ("de", "Am 3. Mai", "am drei mai"),
        ("de", "Straße, STRASSE, STRAẞE", "strasse strasse strasse"),
        ("hi", "नमस्ते, दुनिया!", "नमस्ते दुनिया"),
        ("ta", "வணக்கம் உலகம்.", "வணக்கம் உலகம்"),
        ("th", "สวัสดีชาวโลก", "สวัสดีชาวโลก"),
        ("th", "น้ำ", "น\u0e49\u0e4d\u0e32"),  # sara am is nikhahit and sara aa
        ("ar", "السَّلام عليكم؟", "السَّلام عليكم"),
        ("ar", "مـــرحبا", "مرحبا"),
        ("ar", "\ufedf\ufe8e", "لا"),  # presentation forms
        ("he", 'צה"ל וצה״ל, ג׳ירפה', "צהל וצהל ג'ירפה"),
        ("vi", "Tiếng Việt", "tiếng việt"),
        ("yo", "E\u0323\u0300ko\u0323\u0301 Yorùbá", "ẹ\u0300kọ\u0301 yorùbá"),
        ("ko", "안녕하세요 \u1112\u1161\u11ab국", "안녕하세요 한국"),  # letters typed apart
        ("tr", "İSTANBUL IŞIK", "istanbul ışık"),
        (None, "İSTANBUL istanbul i\u0307", "istanbul istanbul i"),
        ("fa", "می\u200cخواهم", "میخواهم"),
        ("ml", "അവന്\u200d", "അവൻ"),
        ("km", "ភាសា\u200bខ្មែរ", "ភាសា ខ្មែរ"),
        ("fr", "l’homme d'aujourd`hui 'cité'", "l'homme d'aujourd'hui cité"),
        ("uk", "п’ять пʼять п'ять", "п'ять п'ять п'ять"),
        ("ca", "col·legi, para\u0140lel, L'H·ola", "collegi parallel l'h ola"),
        ("ja", "ﾃｽﾄ　ＡＢＣ", "テスト abc"),
        ("ru", "Привет, world", "привет world"),
        ("en", "well-known so\u00adft ❤\ufe0f 👩\u200d🔬", "well known soft"),
        (None, "a\tb\u00a0c\u3000d\u2028e_f", "a b c d e f"),
        (None, "x\ud800y", "x y"),
        (None, "", ""),
        (None, "… — !", ""),
    ],
)
def test_letters_and_marks_stay_and_one_word_has_one_spelling(language, raw, expected):
    assert normalizer_for("multilingual", language)(raw) == expected


@pytest.mark.parametrize(
    ("language", "raw", "expected"),
    [
        ("de", "1.234 oder 1.234,56 oder 3.5.", "eintausendzweihundertvierunddreissig oder eintausendzweihundertvierund"
         "dreissig komma fünf sechs oder drei fünf"),
        ("en", "1,200 and 1,23 and 1.2.3", "one thousand two hundred and one twenty three and one two three"),
        ("en", "10² is 2½ or 3.05", "ten two is two one two or three point zero five"),
        ("en-IN", "1,00,000", "one lakh"),
        ("pt_BR", "16", "dezesseis"),
        ("pt", "16", "dezasseis"),
        ("fr", "1\u202f000 et 1 000 et 12 345", "mille et mille et douze trois cent quarante cinq"),
        ("fr-BE", "71", "septante et un"),
        ("es-MX", "1,234.5", "mil doscientos treinta y cuatro punto cinco"),
        ("es", "1.234,5", "mil doscientos treinta y cuatro coma cinco"),
        ("it", "1.000.000", "un milione"),
        ("ar", "١٢٬٠٠٠", "اثنا عشر ألف"),
        ("th", "๓", "สาม"),
        ("ru", "007", "ноль ноль семь"),
        ("kk", "4", "төрт"),
        ("nb", "2", "to"),
        ("iw", "2", "שתיים"),
        ("hi", "१२३ और 4.5", "123 और 4 5"),  # num2words knows no Hindi: digits on both sides
        ("fil", "2", "2"),  # num2words alone would take it for Finnish
        ("am", "1100", "1100"),
        ("zh", "3月１２日", "3月12日"),
        (None, "1,234,567 and 1,234 and 1.234.567 and 1٬000", "1234567 and 1 234 and 1234567 and 1000"),
        ("te", "123456789012", "ఒకటి రెండు మూడు నాలుగు అయిదు ఆరు ఏడు ఎనిమిది తొమ్మిది సున్న ఒకటి రెండు"),  # beyond its words
        ("de", "1" * 13, " ".join(["eins"] * 13)),
    ],
)  # fmt: skip
def test_numbers_are_spelled_where_the_language_is_known(language, raw, expected):
    assert normalizer_for("multilingual", language)(raw) == expected


def test_the_name_alone_leaves_digits():
    assert NORMALIZERS["multilingual"]("Am 3. Mai") == "am 3 mai"
