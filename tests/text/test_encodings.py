"""Files in other encodings, and bytes that are invalid in the expected encoding."""

import random
import re

import pytest

from npchar import CorpusError, load_corpus

LINES = {
    "russian": "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему.",
    "ukrainian": "Як умру, то поховайте мене на могилі, серед степу широкого, на Вкраїні милій.",
    "greek": "Σε γνωρίζω από την κόψη του σπαθιού την τρομερή, σε γνωρίζω από την όψη.",
    "hebrew": "בראשית ברא אלהים את השמים ואת הארץ והארץ היתה תהו ובהו",
    "arabic": "في البدء كانت الكلمة وكان الكتاب مفتوحا على الصفحة الاولى",
    "thai": "กาลครั้งหนึ่งนานมาแล้ว มีหมู่บ้านเล็กๆ อยู่ริมแม่น้ำ",
    "japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "korean": "어린 백성이 이르고자 할 바 있어도 마침내 제 뜻을 펴지 못하는 사람이 많다",
    "simplified": "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？",
    "traditional": "我冒了嚴寒，回到相隔二千餘里，別了二十餘年的故鄉去。時候既然是深冬。",
    "polish": "Litwo! ty jesteś jak zdrowie; ile cię trzeba cenić, ten tylko się dowie.",
    "czech": "Byl pozdní večer, večerní máj, byl lásky čas. Hrdliččin zval ku lásce hlas.",
    "hungarian": "Itt az idő! Rabok legyünk, vagy szabadok? Ez a kérdés, válasszatok!",
    "turkish": "Güneş batarken çocuklar eve doğru yürüyor, şarkı söylüyor ve gülüşüyorlardı.",
    "lithuanian": "Tėvyne mūsų, tu didvyrių žeme, iš praeities tavo sūnūs te stiprybę semia.",
    "german": "Wenn ein Unglücksfall überwunden ist, so erzählt man gern davon, mit heißem Bemühn.",
    "french": "Maître Corbeau, sur un arbre perché, tenait en son bec un fromage. Où étiez-vous?",
    "english": "It was a dark and stormy night at the café; the fiancé said “no” — and left.",
}
ENCODINGS = {
    "russian": "cp1251 koi8-r cp866 iso8859-5 utf-16-le utf-32-be",
    "ukrainian": "cp1251 koi8-u",
    "greek": "cp1253 iso8859-7",
    "hebrew": "cp1255 iso8859-8",
    "arabic": "cp1256 iso8859-6",
    "thai": "tis-620",
    "japanese": "shift_jis euc-jp iso-2022-jp utf-16-be",
    "korean": "cp949 iso-2022-kr",
    "simplified": "gb18030",
    "traditional": "big5",
    "polish": "cp1250 iso8859-2",
    "czech": "cp1250 iso8859-2",
    "hungarian": "cp1250",
    "turkish": "cp1254",
    "lithuanian": "cp1257",
    "german": "cp1252 mac-roman cp850 utf-16-le utf-16-be",
    "french": "cp1252 utf-32-le",
    "english": "cp1252 utf-16-le",
}


def hint(path, **options):
    """The encoding that the error suggests, or None."""
    with pytest.raises(CorpusError) as caught:
        load_corpus(path, **options)
    found = re.search("encoding='([^']*)'", str(caught.value))
    return found[1] if found and found[1] != "NAME" else None


@pytest.mark.parametrize("language", LINES)
def test_the_encoding_is_named(tmp_path, language):
    """The suggested encoding decodes the original text, of one line or many."""
    path = tmp_path / "text"
    for encoding in ENCODINGS[language].split():
        for text in (LINES[language] + "\n", (LINES[language] + "\n") * 50):
            path.write_bytes(text.encode(encoding))
            assert load_corpus(path, encoding=hint(path), progress=False) == text, encoding


def test_the_error_shows_how_the_file_reads(tmp_path):
    path = tmp_path / "text"
    path.write_text("1878\n" + LINES["russian"], encoding="koi8-r")
    with pytest.raises(CorpusError, match="'Все счастливые"):
        load_corpus(path)


@pytest.mark.parametrize("tried", ["ascii", "utf-16"])
def test_utf_8_read_in_another_encoding(tmp_path, tried):
    path = tmp_path / "text"
    path.write_text(LINES["german"] * 9 + " 😀", encoding="utf-8")
    assert hint(path, encoding=tried) == "utf-8"


@pytest.mark.parametrize("data", [b"na\x81\xefve", b"\xf3\xe1 5\xb0", bytes(range(0x80, 0x100))])
def test_no_encoding_is_named_when_none_fits_clearly(tmp_path, data):
    (tmp_path / "text").write_bytes(data * 3)
    assert hint(tmp_path / "text") is None


def test_random_bytes_have_no_encoding(tmp_path):
    noise = random.Random(5)
    high = range(0x80, 0x100)
    for k in range(20):
        data = bytes(noise.choice(high) for _ in range(200))
        (tmp_path / f"{k}").write_bytes(b" ".join(data[a : a + 7] for a in range(0, 200, 7)))
        assert hint(tmp_path / f"{k}") is None


def test_other_escape_sequences_are_text(tmp_path):
    text = "\x1b[31mred\x1b[0m \x1b(B and \x1b$ are not ISO-2022\n"
    (tmp_path / "text").write_bytes(text.encode())
    assert load_corpus(tmp_path / "text") == text


# UTF-8 with invalid bytes

UTF_8 = "“quoted” café naïve\n" * 50


def written(tmp_path, *parts):
    path = tmp_path / "text"
    path.write_bytes(b"".join(part.encode() if isinstance(part, str) else part for part in parts))
    return path


@pytest.mark.parametrize(
    ("odd", "count", "replaced", "ignored"),
    [
        (b"caf\xe9\n", "1 undecodable", "caf\ufffd\n", "caf\n"),
        (b"\0" * 512, "512 .*zero bytes", "\ufffd" * 512, ""),
        (b"\xe9\0.", "2 ", "\ufffd\ufffd.", "."),
    ],
)
def test_odd_bytes_are_counted_and_can_be_replaced(tmp_path, capsys, odd, count, replaced, ignored):
    path = written(tmp_path, UTF_8, odd, UTF_8)
    with pytest.raises(CorpusError, match=f"{count}.*line 51.*errors='replace'.*errors='ignore'"):
        load_corpus(path)
    assert hint(path) is None
    assert load_corpus(path, errors="replace") == UTF_8 + replaced + UTF_8
    assert re.search(r"line 51.*replaced with U\+FFFD", capsys.readouterr().err)
    assert load_corpus(path, errors="ignore") == UTF_8 + ignored + UTF_8
    assert "removed" in capsys.readouterr().err


def test_characters_in_cesu_8_are_decoded(tmp_path):
    smile = "\ud83d\ude00".encode("utf-8", "surrogatepass")
    path = written(tmp_path, "so good ", smile, "\nlol ", b"\xed\xa0\xbd", smile, "\xe9")
    assert load_corpus(path, errors="replace") == "so good 😀\nlol \ufffd\ufffd\ufffd😀é"
    assert load_corpus(path, errors="ignore") == "so good 😀\nlol 😀é"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be", "shift_jis", "utf-8-sig"])
def test_odd_bytes_in_other_encodings(tmp_path, encoding):
    odd = {"utf-16-le": b"\0\xd8", "utf-32-be": b"\xff" * 4}.get(encoding, b"\xff")
    text = LINES["japanese"] + "\n"
    path = written(tmp_path, text.encode(encoding), odd, text.encode(encoding.replace("-sig", "")))
    with pytest.raises(CorpusError, match="line 2.*errors='replace'"):
        load_corpus(path, encoding=encoding)
    replaced = load_corpus(path, encoding=encoding, errors="replace")
    assert re.fullmatch(f"{text}\ufffd+{text}", replaced)
    assert load_corpus(path, encoding=encoding, errors="ignore") == text + text


def test_a_text_in_another_encoding_is_not_to_be_repaired(tmp_path):
    path = written(tmp_path, LINES["russian"].encode("cp1251"))
    with pytest.raises(CorpusError, match=r"^((?!errors=).)*$"):
        load_corpus(path)


def test_unknown_values(tmp_path):
    path = written(tmp_path, "text")
    with pytest.raises(
        CorpusError, match="errors is 'drop'; expected 'strict', 'replace' or 'ignore'"
    ):
        load_corpus(path, errors="drop")
    for encoding in ("klingon", "hex"):
        with pytest.raises(CorpusError, match=f"no encoding '{encoding}'"):
            load_corpus(path, encoding=encoding)


def test_nothing_is_left_of_a_file(tmp_path):
    with pytest.raises(CorpusError, match="is empty"):
        load_corpus(written(tmp_path, b"\0\0"), errors="ignore")
