"""Facts about languages that decide what is counted."""

import pytest

from mam.scoring.languages import bare_code, leading_metric


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        *(
            (language, "cer")
            for language in ("zh", "yue", "ja", "th", "lo", "my", "km", "bo", "dz", "zh-TW", "zh_Hant")
        ),
        *((language, "wer") for language in ("en", "de", "ko", "vi", "hi", "ar", "zh-Latn", "id", "el")),
    ],
)
def test_the_leading_metric_of_a_language(language, expected):
    assert leading_metric(language) == expected
    assert leading_metric(language, ["今日は", "hello world"]) == expected  # the language decides where it is known


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["今日は良い天気", "OK"], "cer"),
        (["我们 hello"], "wer"),  # two letters of seven
        (["我们我们我们 hello"], "cer"),
        (["我们 ab"], "wer"),  # half is not most
        (["สวัสดีครับ"], "cer"),  # vowels above are marks of the script
        (["한국어 문장"], "wer"),
        (["नमस्ते"], "wer"),
        (["12, 34"], "wer"),
        ([], "wer"),
    ],
)
def test_an_unknown_language_is_judged_by_its_script(references, expected):
    assert leading_metric(None, references) == expected


def test_codes():
    assert [bare_code(one) for one in ("de-AT", "PT_br", "nb", "iw", "", None)] == ["de", "pt", "no", "he", "", ""]
