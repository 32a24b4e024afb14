"""Findings about a text before training."""

import re
import unicodedata

import pytest

from npchar import Model, Vocabulary, examine

GOOD = "the quick brown fox jumps over the lazy dog.\n" * 700


def test_a_good_text_has_nothing():
    assert examine(GOOD) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("short", "too short: 5 characters"),
        ("a small one " * 100, "a small text, 1,200 characters"),
        ("\x0c\x0c\x07" * 9 + GOOD, "control characters.*: U+000C ×18, U+0007 ×9"),
        ("\ufffd" * 9 + GOOD, "9 replacement characters"),
        ("cafÃ©" * 9 + GOOD, "UTF-8 that was decoded with another"),
        ("\u200b" * 9 + GOOD, "invisible characters.*: U+200B ×9"),
        ("cafe\u0301" * 9 + GOOD, "U+0301 ×9.*another form in Unicode normalization NFC"),
        ("\u1112\u1161\u11ab" * 9 + GOOD, "U+1112 ×9.* U+1161 ×9.* U+11AB ×9.*NFC"),
        ("\uf90a" * 9 + GOOD, "U+F90A ×9.*NFC"),
        ("\u05d1\u05bc\u05b0" * 9 + GOOD, "accents in an unusual order.*NFC"),
        ("öö☃" + GOOD, "2 of 31 characters occur fewer than 5 times.*'ö' U.00F6 ×2, '☃' U.2603 ×1"),
        (GOOD + "ö" * 9, "only in the validation set.*'ö'"),
    ],
)
def test_findings(text, found):
    findings = examine(text)
    assert len(findings) == 1, findings
    assert re.search(found.replace("+", r"\+"), findings[0])


@pytest.mark.parametrize(
    "line",
    [
        "सब मनुष्य जन्म से स्वतंत्र हैं और लड़का पढ़ता है।\n",
        "กาลครั้งหนึ่งนานมาแล้ว มีหมู่บ้านอยู่ริมแม่น้ำ\n",
        "بِسْمِ اللَّهِ الرَّحْمَنِ الرَّحِيمِ\n",
        "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם\n",
        "Å Ω 金 한국어 café\n",
        "x\u0302 + y\u0304\n",  # no precomposed letter has this accent
    ],
)
def test_combining_characters_that_nfc_keeps_are_no_finding(line):
    line = unicodedata.normalize("NFC", line)
    assert examine(line * 3000) == []


def test_every_text_that_nfc_changes_has_a_finding():
    """Characters of many scripts, first and after a letter, compared with `normalize`."""
    characters = map(chr, [*range(0x80, 0x3200), *range(0xF900, 0xFB50)])
    texts = [before + c for c in characters for before in ("", "e", "\u05d0\u05b8")]
    changed = [text for text in texts if unicodedata.normalize("NFC", text) != text]
    assert len(changed) > 1000
    assert all("NFC" in str(examine(text)) for text in changed)
    assert "NFC" not in str(examine("\n".join(set(texts) - set(changed))))


def test_nothing_held_out_is_nothing_too_short():
    assert examine(GOOD, validation_split=0) == []
    assert "too short" in examine(GOOD, validation_split=0.001)[0]


def test_training_says_so_first(text, capsys):
    model = Model(Vocabulary.from_text(text), hidden_size=4)
    model.fit(text, epochs=1, maxlen=20, workers=1)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("the text: a small text")


def test_many_rare_ones_get_advice():
    rare = "".join(chr(0x4E00 + k) for k in range(40))
    assert "--min-count 5" in examine(rare + GOOD)[0]
    assert "min_count=5" in examine(rare + GOOD)[0]
    assert "min_count" not in examine(rare[:20] + GOOD)[0]


def test_a_list_of_texts_is_told_from_a_text_of_tokens():
    tweets = [f"a tweet {k}" for k in range(999)]
    assert any(re.search("999 of 999 tokens are different.*from_documents", found)
               for found in examine(tweets))  # fmt: skip
    assert not any("from_documents" in found for found in examine(GOOD.split()))


def test_how_much_is_enough_for_many_symbols():
    many = "".join(chr(0x4E00 + k) for k in range(600))
    assert "600 different characters in 60,000, 100 of each" in " ".join(examine(many * 100))
    assert not any("of each" in found for found in examine(many * 300))


def test_rare_ones_with_a_unknown_symbol_are_taken_care_of(capsys):
    rare = "".join(chr(0x4E00 + k) for k in range(40))
    for min_count, told in ((1, True), (5, False)):
        vocabulary = Vocabulary.from_text(rare + GOOD, min_count=min_count)
        Model(vocabulary, hidden_size=2).fit(rare + GOOD, epochs=1, workers=1)
        assert ("too few to learn" in capsys.readouterr().out) == told
