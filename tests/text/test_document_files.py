"""Formats of document files: lines, paragraphs, markers, CSV, JSON Lines, compression."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npchar import CorpusError, load_corpus
from npchar.text import compressed
from npchar.text.document_files import separate

TEXTS = ["anna", 'a "quoted", cell', "two\nlines", "语言; 模型", "tab\there"]
POEM = "roses are red\nviolets are blue\n\n \nsugar is sweet\n"


@pytest.mark.parametrize(
    ("content", "documents", "expected"),
    [
        ("anna\r\n\n  \nben carl\n", "lines", ["anna", "ben carl"]),
        (POEM, "paragraphs", ["roses are red\nviolets are blue", "sugar is sweet"]),
        (POEM, "files", [POEM]),
        ("one\n<|end|>\ntwo (+)\n<|end|>\n", "<|end|>", ["one", "two (+)"]),
        ("a(+)b", "(+)", ["a", "b"]),
    ],
)
def test_documents(tmp_path, content, documents, expected):
    (tmp_path / "file").write_bytes(content.encode())
    assert load_corpus(tmp_path / "file", documents=documents, progress=False) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_column_of_csv(tmp_path, capsys, delimiter):
    with (tmp_path / "file.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        others = {",", ";", "\t"} - {delimiter}
        writer.writerow([5 * "".join(others), "text", "more"])
        writer.writerows([k, text, ""] for k, text in enumerate([*TEXTS, " ", "x" * 200_000]))
        file.write("7\r\n")
    assert load_corpus(tmp_path / "file.csv", field="text") == [*TEXTS, "x" * 200_000]
    assert "markup" not in capsys.readouterr().err
    assert csv.field_size_limit() == 131072


def test_a_single_column_may_have_separators(tmp_path):
    (tmp_path / "file").write_text('text\nwell, well; well\n"and, so"\n')
    assert load_corpus(tmp_path / "file", field="text") == ["well, well; well", "and, so"]


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_a_field_of_json_lines(texts):
    lines = "\n".join(json.dumps({"n": k, "text": text}) for k, text in enumerate(texts))
    expected = [re.sub("\r\n?", "\n", text) for text in texts if text.strip()]
    if expected:
        assert separate([("file", lines + '\n{"text": null}\n\n')], None, "text") == expected


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a line\nb", {"documents": "line"}, "documents is 'line'; expected 'lines', 'paragraphs'"),
        ("a\nb", {"documents": "---"}, "the marker '---' between documents in .*file, got none"),
        ("a\nb", {"documents": ""}, "documents is ''; expected"),
        ("a\nb", {"documents": "lines", "field": "text"}, "documents or field, got both"),
        (" \n ", {"documents": "paragraphs"}, "expected documents in .*file, got none"),
        (
            "id,body\n1,a\n",
            {"field": "text"},
            "expected a column 'text' in .*file, got id, b",
        ),
        ("id,text\n1,a, b\n", {"field": "text"}, "expected 2 columns in line 2 of .*file, got 3"),
        ('[{"text": "a"}]', {"field": "text"}, "got a JSON array; write each"),
        ('id,text\n1,"a\n', {"field": "text"}, "line 2 of .*file is not CSV: unexpected end"),
        (
            '{"text": "a"}\n{"body": 1}',
            {"field": "text"},
            "a text in field 'text' in line 2 of .*body",
        ),
        (
            '{"text": "a"}\n[1]',
            {"field": "text"},
            r"in line 2 of .*file, got \[1\]",
        ),
        ("a\nb", {"documents": 5}, "documents is 5; expected 'lines', 'paragraphs'"),
        ("a\nb", {"documents": ["lines"]}, r"documents is \['lines'\]; expected 'lines'"),
        ('{"text": "a"}\n{"te', {"field": "text"}, "expected a JSON object .* in line 2"),
        (
            '{"text": 3}',
            {"field": "text"},
            "a text in field 'text' in line 1 of .*: 3",
        ),
    ],
)
def test_bad_documents(tmp_path, content, options, message):
    (tmp_path / "file").write_text(content)
    with pytest.raises(CorpusError, match=message):
        load_corpus(tmp_path / "file", progress=False, **options)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_texts(tmp_path, monkeypatch, compress):
    text = "the cat sat on the mat. " * 50
    path = tmp_path / "file"
    data = compress(text.encode())
    path.write_bytes(data + compress(b"the end"))  # as written by `cat a.gz b.gz`
    assert load_corpus(path) == load_corpus(tmp_path) == text + "the end"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorpusError, match=r"cannot decompress .*file"):
        load_corpus(path)
    monkeypatch.setattr(compressed, "LARGEST", len(text) - 1)
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="at most 1,199 bytes after decompression"):
        load_corpus(path)


def test_a_compressed_archive(tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        file.add(__file__, "test.py")
    (tmp_path / "texts.tgz").write_bytes(archive.getvalue())
    with pytest.raises(CorpusError, match="is a tar archive; unpack it"):
        load_corpus(tmp_path / "texts.tgz")
