"""Text to ids, and ids to text.

A text is a string of characters, or a list of tokens such as words or musical notes. It comes from
``text/corpus.py`` or from the user. ``text/batches.py`` and all later modules use ids. Ids have the
smallest unsigned dtype: one byte per character for most texts.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from npchar.arguments import removed_name, require_known, require_positive
from npchar.arrays import Array

__all__ = ["UnknownCharacterError", "Vocabulary"]

END = "\x03"  # U+0003, END OF TEXT: the end of each document, in a vocabulary for documents
UNKNOWN = "\ufffd"  # U+FFFD, REPLACEMENT CHARACTER: the unknown symbol
ENCODE_CHUNK = 1 << 20  # characters converted at a time, to limit memory: 4 bytes each

Text: TypeAlias = str | Sequence[Hashable]  # characters, or tokens
Decoded: TypeAlias = Any  # a str or a list of tokens, which depends on the vocabulary
Item = TypeVar("Item")


class UnknownCharacterError(ValueError):
    """A character or token is not in the vocabulary.

    Examples
    --------
    >>> try:
    ...     npchar.Vocabulary("abc").encode("cat")
    ... except npchar.UnknownCharacterError as error:
    ...     print(error.character, error.position)
    t 2
    """

    def __init__(self, character: Hashable, position: int, is_token: bool = False) -> None:
        name = f"the token {character!r}"
        if not is_token:
            name = f"the character {character!r} (U+{ord(str(character)):04X})"
        super().__init__(
            f"{name} at position {position} is not in the vocabulary; pass unknown='skip' to "
            "`generate` or `encode`; remove all unknown symbols with text = "
            "vocabulary.decode(vocabulary.encode(text, unknown='skip')); or use another vocabulary"
        )
        self.character = character
        """The first unknown character or token."""
        self.position = position
        """Its position in the text, from 0."""


@dataclass(frozen=True, init=False, repr=False)
class Vocabulary:
    """The sorted symbols of a model. The id of a symbol is its position.

    Symbols are characters if texts are strings, and tokens if texts are lists of tokens. A
    vocabulary is immutable. The order of the argument has no effect.

    Parameters
    ----------
    symbols
        Characters, or tokens: strings, integers or tuples of these. Duplicates are ignored.
    tokens
        Whether texts are lists of tokens. Default: True if any symbol is not a single character.
    unknown_symbol
        The symbol that replaces all symbols outside the vocabulary. Default: None; symbols outside
        the vocabulary then raise an error.
    documents
        Whether the symbol U+0003 marks the end of a document, as in `from_documents`.

    Examples
    --------
    >>> vocabulary = npchar.Vocabulary.from_text("hello")
    >>> vocabulary.characters
    'ehlo'
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0], dtype=uint8)
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    >>> words = npchar.Vocabulary.from_text(["to", "be", "or", "not", "to", "be"])
    >>> words.decode(words.encode(["not", "to", "be"]))
    ['not', 'to', 'be']
    """

    symbols: str | tuple[Hashable, ...]
    """The symbols in the order of their ids: a string, or tokens."""
    tokens: bool
    """Whether texts are lists of tokens, not strings."""
    unknown_symbol: Hashable | None
    """The symbol that replaces unknown symbols; None if unknown symbols raise an error."""
    documents: bool
    """Whether U+0003 marks the end of a document, or is an ordinary character."""

    def __init__(
        self,
        symbols: Iterable[Hashable],
        *,
        tokens: bool | None = None,
        unknown_symbol: Hashable | None = None,
        documents: bool = False,
        **removed: object,
    ) -> None:
        require_known(Vocabulary, "Vocabulary", removed)
        ordered = _in_order({_storable(symbol) for symbol in symbols})
        if not ordered:
            raise ValueError("expected at least one symbol for a vocabulary, got none")
        if unknown_symbol not in (None, *ordered):
            raise ValueError(f"unknown_symbol is {unknown_symbol!r}; expected one of the symbols")
        if documents and END not in ordered:
            raise ValueError("expected U+0003 among the symbols, because documents is True")
        is_text = all(isinstance(symbol, str) and len(symbol) == 1 for symbol in ordered)
        if tokens is None:
            tokens = not is_text
        elif not tokens and not is_text:
            raise ValueError("expected single characters as symbols, because tokens is False")
        self.__dict__.update(  # the attributes of a frozen dataclass cannot be assigned
            symbols=tuple(ordered) if tokens else "".join(map(str, ordered)),
            tokens=tokens,
            unknown_symbol=unknown_symbol,
            documents=documents,
        )

    @classmethod
    def from_text(cls, text: Text, *, min_count: int = 1) -> Vocabulary:
        """Create the vocabulary of a text.

        Parameters
        ----------
        text
            A string, or a list, array or Series of tokens.
        min_count
            Symbols that occur fewer times are replaced by one unknown symbol, U+FFFD. A model reads
            the unknown symbol, but never generates it.

        Raises
        ------
        ValueError
            If the text is empty, or `min_count` is below 1.
        TypeError
            If the text is bytes or a one-time iterable such as a generator.

        Examples
        --------
        >>> vocabulary = npchar.Vocabulary.from_text("abracadabra", min_count=2)
        >>> vocabulary.decode(vocabulary.encode("abracadabra"))
        'abra\ufffda\ufffdabra'
        """
        if not isinstance(text, str):
            text = as_list(text, "a str or a list of tokens")
        if not len(text):
            raise ValueError("expected at least one character for a vocabulary, got an empty text")
        return cls._count([text], min_count, documents=False)

    @classmethod
    def from_documents(cls, documents: Collection[Text], *, min_count: int = 1) -> Vocabulary:
        r"""Create the vocabulary of documents: independent texts such as names or poems.

        The vocabulary includes U+0003, which marks the end of each document. With this vocabulary,
        `Model.fit`, `Model.evaluate` and `Model.score` take a list of documents.

        Parameters
        ----------
        documents
            A list, array or Series of strings, or a list of lists of tokens.
        min_count
            As for `from_text`.

        Raises
        ------
        ValueError
            If there are no documents, or a document is empty or contains U+0003.
        TypeError
            If a document has another type, or `documents` is a one-time iterable.

        Examples
        --------
        >>> npchar.Vocabulary.from_documents(["anna", "ben"]).symbols[1:]
        'aben'
        """
        if isinstance(documents, (str, bytes)):
            raise ValueError(f"expected a list of texts, got a single text, {documents[:20]!r}")
        documents = as_list(documents, "a list of texts")
        require_documents(documents)
        return cls._count(documents, min_count, documents=True)

    @classmethod
    def _count(cls, texts: Sequence[Text], min_count: int, documents: bool) -> Vocabulary:
        """The vocabulary of the symbols that occur at least `min_count` times in all texts."""
        require_positive(min_count=min_count)
        tokens = not isinstance(texts[0], str)
        counts: Counter[Hashable] = Counter()
        for text in texts:
            counts.update(map(_storable, text) if tokens else text)
        symbols = [symbol for symbol, n in counts.items() if n >= min_count]
        unknown_symbol = UNKNOWN if len(symbols) < len(counts) else None
        symbols += [END] * documents + [UNKNOWN] * (unknown_symbol is not None)
        return cls(symbols, tokens=tokens, unknown_symbol=unknown_symbol, documents=documents)

    @property
    def characters(self) -> str:
        """The characters in the order of their ids.

        Examples
        --------
        >>> npchar.Vocabulary("cab").characters
        'abc'
        """
        if not isinstance(self.symbols, str):
            raise TypeError("a vocabulary of tokens has no characters; use its `symbols`")
        return self.symbols

    def encode(self, text: Text, unknown: Hashable = "error", *, at_least: int = 0) -> Array:
        """The ids of a text, (n,), in the smallest unsigned dtype.

        Parameters
        ----------
        text
            A string. For a vocabulary of tokens, a list, array or Series of tokens.
        unknown
            The policy for symbols outside the vocabulary. "error" replaces them by
            `unknown_symbol` if there is one, and otherwise raises an error. "skip" removes them.
            Any symbol of the vocabulary replaces them. The tokens "error" and "skip" cannot be
            used as replacements.
        at_least
            The minimum number of ids.

        Returns
        -------
        Array
            (n,), with the dtype `id_dtype`; shorter if symbols are skipped.

        Raises
        ------
        UnknownCharacterError
            If the text has an unknown symbol that is neither skipped nor replaced.
        ValueError
            If `unknown` is not valid, or the text has fewer than `at_least` known symbols.

        Examples
        --------
        >>> vocabulary = npchar.Vocabulary("abc")
        >>> vocabulary.encode("cab!", unknown="skip")
        array([2, 0, 1], dtype=uint8)
        """
        text = self.require_text(text)
        if unknown not in ("error", "skip") and unknown not in self:
            raise ValueError(
                f"unknown is {unknown!r}; expected 'error', 'skip' or a "
                f"{self.symbol_name} of the vocabulary"
            )
        ids = self._look_up(text)
        is_unknown = ids == len(self)
        if is_unknown.any():
            replacement = self.unknown_symbol if unknown == "error" else unknown
            if unknown == "skip":
                ids = ids[~is_unknown]
            elif replacement is not None:
                ids[is_unknown] = self._ids[replacement]
            else:
                position = int(is_unknown.argmax())
                raise UnknownCharacterError(text[position], position, self.tokens)
        if len(ids) < at_least:
            name = self.symbol_name + ("s" if at_least > 1 else "")
            raise ValueError(
                f"expected a text of at least {at_least} {name} of the vocabulary, got {text!r:.60}"
            )
        return ids.astype(self.id_dtype, copy=False)

    @functools.cached_property
    def _ids(self) -> dict[Hashable, int]:
        """The id of each symbol."""
        return {symbol: k for k, symbol in enumerate(self.symbols)}

    @functools.cached_property
    def _table(self) -> Array:
        """The id of each code point up to the largest. Unknown ones and the last entry have V."""
        V, code_points = len(self), [ord(character) for character in self.characters]
        table = np.full(code_points[-1] + 2, V, np.min_scalar_type(V))
        table[code_points] = np.arange(V)
        return table

    def _look_up(self, text: Text) -> Array:
        """The ids of a text, with V in place of unknown symbols."""
        V = len(self)
        if not isinstance(text, str):
            ids = (self._ids.get(token, V) for token in text)
            return np.fromiter(ids, np.min_scalar_type(V), len(text))
        pieces = [np.empty(0, self._table.dtype)]
        for start in range(0, len(text), ENCODE_CHUNK):
            chunk = text[start : start + ENCODE_CHUNK].encode("utf-32-le", "surrogatepass")
            pieces.append(self._table.take(np.frombuffer(chunk, "<u4"), mode="clip"))
        return np.concatenate(pieces)

    def decode(self, ids: Iterable[int] | Array) -> Decoded:
        """The text of a sequence of ids: a string, or a list of tokens.

        Parameters
        ----------
        ids
            Integers from 0 to V − 1.

        Raises
        ------
        ValueError
            If `ids` has other values.

        Examples
        --------
        >>> npchar.Vocabulary("abc").decode([2, 0, 1])
        'cab'
        """
        numbers = ids if isinstance(ids, np.ndarray) else np.array(list(ids))
        if not numbers.size:
            return self.join([])
        is_valid = numbers.ndim == 1 and numbers.dtype.kind in "iu"
        if not (is_valid and numbers.min() >= 0 and numbers.max() < len(self)):
            raise ValueError(f"expected whole numbers from 0 to {len(self) - 1}, got {ids!r:.60}")
        return self.join(map(self.symbols.__getitem__, numbers.tolist()))

    def join(self, symbols: Iterable[Hashable]) -> Decoded:
        """Join symbols to a text: a string, or a list of tokens.

        Examples
        --------
        >>> npchar.Vocabulary("abc").join(["c", "a"]), npchar.Vocabulary(["to", "be"]).join(["be"])
        ('ca', ['be'])
        """
        return list(symbols) if self.tokens else "".join(map(str, symbols))

    def require_text(self, text: Text) -> Text:
        """Return the text as a str or a list; raise a TypeError for any other type.

        Examples
        --------
        >>> npchar.Vocabulary("abc").require_text(["c", "a"])
        Traceback (most recent call last):
        TypeError: expected a str, got list
        """
        if self.tokens:
            return as_list(text, f"a list of tokens such as [{self.symbols[0]!r}]")
        if not isinstance(text, str):
            raise TypeError(f"expected a str, got {type(text).__name__}")
        return text

    @property
    def unknown_id(self) -> int | None:
        """The id of the unknown symbol; None if there is no unknown symbol.

        Examples
        --------
        >>> npchar.Vocabulary.from_text("abracadabra", min_count=2).unknown_id
        3
        """
        return None if self.unknown_symbol is None else self._ids[self.unknown_symbol]

    @property
    def symbol_name(self) -> str:
        """The word for a symbol: "character" or "token".

        Examples
        --------
        >>> npchar.Vocabulary("abc").symbol_name, npchar.Vocabulary(["to", "be"]).symbol_name
        ('character', 'token')
        """
        return "token" if self.tokens else "character"

    @property
    def id_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer dtype for all ids.

        Examples
        --------
        >>> npchar.Vocabulary("abc").id_dtype
        dtype('uint8')
        """
        return np.min_scalar_type(len(self) - 1)

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.symbols)

    def __contains__(self, symbol: Hashable) -> bool:
        return symbol in self._ids

    def __repr__(self) -> str:
        tokens = ", tokens=True" if self.tokens else ""
        unknown = "" if self.unknown_symbol is None else f", unknown_symbol={self.unknown_symbol!r}"
        documents = ", documents=True" if self.documents else ""
        return f"Vocabulary({self.symbols!r}{tokens}{unknown}{documents})"

    if not TYPE_CHECKING:  # so that type checkers report unknown attributes

        def __getattr__(self, name):
            raise removed_name("Vocabulary", name)

    def _repr_html_(self) -> str:
        """The symbols as HTML for notebooks, each with its id as a tooltip."""
        import html  # here, for a fast `import npchar`

        boxes = " ".join(
            f'<code title="id {k}" style="border:1px solid #8888;padding:0 .3em">'
            f"{html.escape(visible(symbol))}</code>"
            for k, symbol in enumerate(self.symbols)
        )
        return f"<div>{len(self)} {self.symbol_name}s: {boxes}</div>"


def as_list(items: Iterable[Item], expected: str) -> Sequence[Item]:
    """Return the items of a list, array or Series as a list; raise a TypeError for other types.

    Iterators are rejected because they can be read only once. Sets, mappings and tables are
    rejected because their order or their items are probably not those of the text.
    """
    if isinstance(items, (list, tuple)):
        return items
    is_text = isinstance(items, (str, bytes))
    is_list = isinstance(items, Collection) and not isinstance(items, (Mapping, Set))
    if is_list and not is_text and getattr(items, "ndim", 1) == 1:
        return list(items)
    hint = "; pass list(...) of its texts or tokens"
    hint *= isinstance(items, Iterable) and not is_text
    raise TypeError(f"expected {expected}, got {type(items).__name__}{hint}")


def require_documents(documents: Sequence[Text]) -> None:
    """Raise a ValueError or TypeError unless all documents are non-empty texts without END."""
    if not documents:
        raise ValueError("expected at least one document, got none")
    kind = str if isinstance(documents[0], str) else list
    for k, document in enumerate(documents):
        if not isinstance(document, kind):
            hint = "; pass list(...) of its tokens" if isinstance(document, Collection) else ""
            raise TypeError(f"expected a text as document {k}, got {type(document).__name__}{hint}")
        if not len(document):
            raise ValueError(f"document {k} is empty; remove empty documents")
        if END in document:
            raise ValueError(f"document {k} contains U+0003, the end of a document; remove it")


def _storable(symbol: Hashable) -> Hashable:
    """Convert a symbol to a type that files can store; raise a ValueError for other types."""
    if isinstance(symbol, np.generic):
        symbol = symbol.item()
    if isinstance(symbol, tuple):
        return tuple(_storable(part) for part in symbol)
    if isinstance(symbol, bool) or not isinstance(symbol, (str, int)):
        raise ValueError(
            "expected characters, or tokens that are strings, integers or tuples of these, got "
            f"{symbol!r}"
        )
    return symbol


def _in_order(symbols: set[Hashable]) -> list[Hashable]:
    """Sort symbols by type and value."""
    try:
        return sorted(symbols, key=lambda symbol: (type(symbol).__name__, symbol))
    except TypeError:  # tuples of different types cannot be compared
        return sorted(symbols, key=repr)


def visible(symbol: Hashable) -> str:
    """A symbol with visible signs in place of spaces and unprintable characters."""
    if not isinstance(symbol, str):
        return str(symbol)
    signs = {" ": "\u2423", "\n": "\u23ce", "\t": "\u21e5"}
    return "".join(signs.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in symbol)
