"""Alignments word by word, by hand."""

from __future__ import annotations

from mam.report.utterances import Utterance, Word, aligned, changed, worst


def test_alignment_by_hand():
    assert aligned("the cat sat", "the cat sat") == [Word("equal", "the cat sat")]
    assert aligned("the cat sat down today", "a cat down today now") == [
        Word("substitute", "a"),
        Word("equal", "cat"),
        Word("delete", "sat"),
        Word("equal", "down today"),
        Word("insert", "now"),
    ]
    assert aligned("", "so") == [Word("insert", "so")] and aligned("", " ") == []
    assert aligned("so", "") == [Word("delete", "so")]


def test_any_white_space_separates_words_and_characters_can_be_aligned():
    assert aligned("hello\tworld", "hello\u00a0there") == [Word("equal", "hello"), Word("substitute", "there")]
    assert aligned("今天天气", "今天 气", "character") == [
        Word("equal", "今天"),
        Word("delete", "天"),
        Word("equal", "气"),
    ]


def test_which_are_shown():
    def one(name, before, after):
        return Utterance(
            name, f"{name}.wav", "r", [Word("equal", str(after))], [Word("equal", str(before))], after, before, 3
        )

    some = [one("a", 0, 1), one("b", 4, 1), one("c", 2, 2), one("d", 0, 0)]
    assert [u.id for u in changed(some)] == ["b", "a"]
    assert [u.id for u in worst(some)] == ["c", "a", "b"]
