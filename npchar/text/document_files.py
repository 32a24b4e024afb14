"""Splits files into documents: lines, paragraphs, parts between markers, and records.

``text/corpus.py`` reads the files. ``text/documents.py`` converts the documents to ids.
"""

from __future__ import annotations

import re

from npchar.text.download import CorpusError

SEPARATORS = {"lines": r"\n", "paragraphs": r"\n\s*\n", "files": "(?!)"}  # "(?!)" never matches


def separate(texts: list[tuple[str, str]], documents: str | None, field: str | None) -> list[str]:
    """Split texts into documents, without blank ones.

    Parameters
    ----------
    texts
        The names and contents of files.
    documents
        "lines", "paragraphs" (separated by blank lines), "files", or a marker between documents.
        Line feeds next to a marker are removed.
    field
        The field of each record that contains the document, if `documents` is None.

    Raises
    ------
    CorpusError
        If no text has the marker, a field is missing, or the texts have no documents.
    """
    if documents is None:
        parts = [value for name, text in texts for value in field_values(text, field or "", name)]
    else:
        if not (isinstance(documents, str) and documents in SEPARATORS):
            _require_marker(documents, texts)
        separator = SEPARATORS.get(documents) or re.escape(documents)
        parts = [part for _, text in texts for part in re.split(separator, text)]
        if documents != "files":
            parts = [part.strip("\n") for part in parts]
    parts = [part for part in parts if part.strip()]
    if not parts:
        raise CorpusError(f"expected documents in {', '.join(name for name, _ in texts)}, got none")
    return parts


def _require_marker(marker: object, texts: list[tuple[str, str]]) -> None:
    """Raise an error for a misspelt keyword, and for a marker that no text has."""
    if not isinstance(marker, str) or not marker or marker.isalpha():
        raise CorpusError(
            f"documents is {marker!r}; expected 'lines', 'paragraphs', 'files', or a marker "
            "that contains a character other than a letter, such as '\\nEND\\n'"
        )
    if not any(marker in text for _, text in texts):
        names = ", ".join(name for name, _ in texts)
        raise CorpusError(
            f"expected the marker {marker!r} between documents in {names:.200}, got none; use "
            "another marker, or documents='lines', 'paragraphs' or 'files'"
        )


def field_values(text: str, field: str, name: str) -> list[str]:
    """One field of each record in a text.

    Parameters
    ----------
    text
        JSON Lines if the text starts with "{", otherwise CSV. The first line of a CSV text names
        the columns. The separator is the most frequent of comma, semicolon and tab in this line.
    field
        The name of the field or column.
    name
        The name of the file, for messages.

    Raises
    ------
    CorpusError
        If a record does not have the field, or the text is neither JSON Lines nor CSV.
    """
    if text.lstrip().startswith("{"):
        return _json_values(text, field, name)
    if text.lstrip().startswith("["):
        raise CorpusError(
            f"expected CSV, or JSON Lines with one object in each line, in {name}, got a JSON "
            "array; write each of its objects to a line, for example with `jq -c '.[]'`"
        )
    return _column(text, field, name)


def _json_values(text: str, field: str, name: str) -> list[str]:
    """The field of each JSON object, with one object per line; null is an empty text."""
    import json  # here, for a fast `import npchar`

    values = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)[field]
            except (ValueError, KeyError, TypeError):
                value = 0
            if not isinstance(value, (str, type(None))):
                raise CorpusError(
                    f"expected a JSON object with a text in field {field!r} in line {number} of "
                    f"{name}, got {line:.80}"
                )
            values.append((value or "").replace("\r\n", "\n").replace("\r", "\n"))
    return values


def _column(text: str, field: str, name: str) -> list[str]:
    """A column of a CSV file. Rows that are too short are skipped, and longer ones are errors."""
    import csv
    import io

    header = text.partition("\n")[0]
    limit = csv.field_size_limit(len(text) + 1)  # a cell may be as long as the file
    try:
        unquoted = re.sub(r'"[^"]*"', "", header)
        delimiter = max("\x1f,;\t", key=unquoted.count)  # the first is for a single column
        rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        columns = [column.strip() for column in next(rows, [])]
        if field not in columns:
            raise CorpusError(
                f"expected a column {field!r} in the first line of {name}, got "
                f"{', '.join(columns):.200}"
            )
        values, k = [], columns.index(field)
        for row in rows:
            if len(row) > len(columns):
                raise CorpusError(
                    f"expected {len(columns)} columns in line {rows.line_num} of {name}, got "
                    f"{len(row)}; put quotation marks around a text with {delimiter!r}"
                )
            values += row[k : k + 1]
        return values
    except csv.Error as error:
        raise CorpusError(f"line {rows.line_num} of {name} is not CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
