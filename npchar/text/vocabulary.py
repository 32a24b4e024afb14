"""Text to ids and back.

Text comes from ``text/corpus.py`` or from the user; ids go to ``text/batches.py``. A text is
a str, made of characters; or a list of tokens: words, notes, or other symbols in
sequence. Everything after this works on ids alone, stored in the smallest unsigned
type: a byte a character for most texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array

__all__ = ["UnknownCharacterError", "Vocabulary"]

END = "\x03"  # U+0003, END OF TEXT: the end of each document, in a vocabulary for documents
STAND_IN = "\ufffd"  # U+FFFD, REPLACEMENT CHARACTER: for all rare symbols, where asked for
ENCODE_CHUNK = 1 << 20  # characters turned into code points at a time, 4 bytes each

# What to do about an unknown symbol where there is no argument `unknown`
ADVICE = (
    "leave it out, with all such: text = vocabulary.decode(vocabulary.encode(text, "
    "unknown='skip')); or make a model of a vocabulary that has it"
)

Text: TypeAlias = str | Sequence[Any]  # characters, or tokens


class UnknownCharacterError(ValueError):
    """A character, or token, that the vocabulary does not have.

    Examples
    --------
    >>> try:
    ...     npchar.Vocabulary("abc").encode("cat")
    ... except npchar.UnknownCharacterError as error:
    ...     print(error.character, error.position)
    t 2
    """

    def __init__(
        self, character: Hashable, position: int, token: bool = False, advice: str | None = None
    ) -> None:
        what = f"the token {character!r}"
        stand_in = "one of its tokens"
        if not token:
            what = f"the character {character!r} (U+{ord(str(character)):04X})"
            stand_in = "' '"
        if advice is None:  # where there is an argument `unknown`
            advice = (
                "leave it out, or pass unknown='skip' to skip all such, or "
                f"unknown={stand_in} to put that in their place"
            )
        super().__init__(f"{what} at position {position} is not in the vocabulary; {advice}")
        self.character = character
        """The first such character or token."""
        self.position = position
        """Where in the text it stands, from 0."""


@dataclass(frozen=True, init=False, repr=False)
class Vocabulary:
    """The symbols of a model's texts, sorted; a symbol's id is its place among them.

    Of characters, for texts that are strings; or of tokens, for texts that are lists
    of them. Immutable, and the same for the same symbols in any order.

    Parameters
    ----------
    symbols
        Characters; or tokens, which are strings, whole numbers or tuples of these, so
        that files can keep them. Duplicates count once.
    tokens
        Whether they are tokens even if each is a single character; when not given,
        they are tokens if one is not.
    stand_in
        The one of them that is put in the place of every other symbol; None for an error.
    documents
        Whether U+0003, one of the symbols, marks the end of a document, as in `from_documents`.

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
    """In the order of their ids: a string, or tokens."""
    tokens: bool
    """Whether texts are lists of tokens, not strings."""
    stand_in: Hashable | None
    """What is put in the place of unknown symbols; None for an error."""
    documents: bool
    """Whether U+0003 marks the end of a document; if not, it is a character like any other."""
    _table: Array | dict[Hashable, int] = field(compare=False)

    def __init__(
        self,
        symbols: Iterable[Any],
        *,
        tokens: bool | None = None,
        stand_in: Hashable | None = None,
        documents: bool = False,
    ) -> None:
        distinct = in_order({storable(symbol) for symbol in symbols})
        if not distinct:
            raise ValueError("expected at least one symbol for a vocabulary, got none")
        all_characters = all(isinstance(s, str) and len(s) == 1 for s in distinct)
        if tokens is None:
            tokens = not all_characters
        elif not tokens and not all_characters:
            raise ValueError("tokens is False, but not all of the symbols are single characters")
        n = len(distinct)
        table: Array | dict[Hashable, int] = {symbol: k for k, symbol in enumerate(distinct)}
        if not tokens:
            # From code point to id; n, one past the last id, means unknown.
            code_points = [ord(str(character)) for character in distinct]
            table = np.full(code_points[-1] + 2, n, np.min_scalar_type(n))
            table[code_points] = np.arange(n)
        object.__setattr__(self, "symbols", tuple(distinct) if tokens else "".join(distinct))
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "stand_in", stand_in)
        if stand_in is not None and stand_in not in self:
            raise ValueError(f"stand_in is {stand_in!r}; expected one of the symbols")
        if documents and END not in self:
            raise ValueError("documents is True; expected U+0003 as one of the symbols")
        object.__setattr__(self, "documents", documents)

    @classmethod
    def from_text(cls, text: Text, *, min_count: int = 1) -> Vocabulary:
        """The vocabulary of all characters in a string, or of all tokens in a list.

        Parameters
        ----------
        text
            The text: a string, or a list, array or Series of tokens.
        min_count
            How often a symbol must come to be one of the vocabulary. For all rarer ones there
            is then one more, U+FFFD: they are read as it, and it is never generated.

        Raises
        ------
        ValueError
            For an empty text, or a `min_count` below 1.
        TypeError
            For bytes, or an iterable that can be read only once, such as a generator.

        Examples
        --------
        >>> vocabulary = npchar.Vocabulary.from_text("abracadabra", min_count=2)
        >>> vocabulary.decode(vocabulary.encode("abracadabra"))
        'abra\ufffda\ufffdabra'
        """
        if isinstance(text, bytes):
            raise TypeError("expected a str or a list of tokens, got bytes; decode them to a str")
        if not isinstance(text, str):
            text = as_list(text, "a str or a list of tokens")
        if not len(text):
            raise ValueError("the text is empty; a vocabulary needs at least one character")
        chunks = (text[at : at + ENCODE_CHUNK] for at in range(0, len(text), ENCODE_CHUNK))
        return cls._counted(chunks, not isinstance(text, str), min_count, documents=False)

    @classmethod
    def from_documents(cls, documents: Collection[Text], *, min_count: int = 1) -> Vocabulary:
        r"""The vocabulary of independent texts, such as names or poems.

        It also has U+0003, which marks the end of each. `Model.fit`, `Model.evaluate` and
        `Model.score` of a model with this vocabulary take a list of documents.

        Parameters
        ----------
        documents
            A list, array or Series of strings, or a list of lists of tokens.
        min_count
            As for `from_text`.

        Raises
        ------
        ValueError
            For no documents, an empty document, or a document with U+0003 in it.
        TypeError
            For a document of another type, or an iterable that can be read only once.

        Examples
        --------
        >>> npchar.Vocabulary.from_documents(["anna", "ben"]).symbols[1:]
        'aben'
        """
        if isinstance(documents, (str, bytes)):
            raise ValueError(f"expected a list of texts, got one, {documents[:20]!r}")
        documents = as_list(documents, "a list of texts")
        require_documents(documents)
        return cls._counted(documents, not isinstance(documents[0], str), min_count, documents=True)

    @classmethod
    def _counted(
        cls, texts: Iterable[Text], tokens: bool, min_count: int, documents: bool
    ) -> Vocabulary:
        """The vocabulary of the symbols that occur at least `min_count` times in all texts."""
        require_positive(min_count=min_count)
        counts: Counter[Any] = Counter()
        for text in texts:
            counts.update(map(storable, text) if tokens else text)
        symbols = [symbol for symbol, n in counts.items() if n >= min_count]
        stand_in = STAND_IN if len(symbols) < len(counts) else None
        symbols += [END] * documents + [STAND_IN] * (stand_in is not None)
        return cls(symbols, tokens=tokens, stand_in=stand_in, documents=documents)

    @property
    def characters(self) -> str:
        """The characters in the order of their ids.

        Examples
        --------
        >>> npchar.Vocabulary("cab").characters
        'abc'
        """
        if not isinstance(self.symbols, str):
            raise AttributeError("this vocabulary is of tokens: `symbols` has them")
        return self.symbols

    def encode(self, text: Text, unknown: Any = "error") -> Array:
        """The ids of a text, (n,), in the smallest unsigned type that holds them.

        Parameters
        ----------
        text
            A string; for a vocabulary of tokens a list, array or Series of them.
        unknown
            What to do with a symbol outside the vocabulary: "error", or the `stand_in` if
            there is one; "skip" it, or put a symbol of the vocabulary, given here, in its
            place (any but a token that is one of these two words).

        Returns
        -------
        Array
            (n,), of the type `id_dtype`; shorter where symbols are skipped.

        Raises
        ------
        UnknownCharacterError
            With `unknown="error"`, naming the first one and its position.

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
        chunks = []
        for start in range(0, len(text), ENCODE_CHUNK):
            chunk = text[start : start + ENCODE_CHUNK]
            ids = self._looked_up(chunk)
            is_unknown = ids == len(self)
            if is_unknown.any():
                if unknown == "error" and self.stand_in is not None:
                    ids[is_unknown] = self.symbols.index(self.stand_in)  # type: ignore[arg-type]
                elif unknown == "error":
                    position = int(is_unknown.argmax())
                    raise UnknownCharacterError(chunk[position], start + position, self.tokens)
                elif unknown == "skip":
                    ids = ids[~is_unknown]
                else:
                    ids[is_unknown] = self.symbols.index(unknown)
            chunks.append(ids.astype(self.id_dtype, copy=False))
        return np.concatenate(chunks) if chunks else np.empty(0, self.id_dtype)

    def ids_of(self, text: Text, at_least: int = 0) -> Array:
        """`encode` for a text of which every symbol must be known, and so many there.

        The error for an unknown one says what to do where no argument `unknown` is taken.

        Examples
        --------
        >>> npchar.Vocabulary("abc").ids_of("cab", at_least=2)
        array([2, 0, 1], dtype=uint8)
        """
        text = self.require_text(text)
        if len(text) < at_least:
            raise ValueError(
                f"expected a text of at least {at_least} {self.symbol_name}s, got {text!r}"
            )
        try:
            return self.encode(text)
        except UnknownCharacterError as error:
            raise UnknownCharacterError(
                error.character, error.position, self.tokens, ADVICE
            ) from None

    def _looked_up(self, chunk: Text) -> Array:
        """The ids of a piece of text; len(self) for symbols that are unknown."""
        if not isinstance(self._table, dict):
            assert isinstance(chunk, str)
            code_points = np.frombuffer(chunk.encode("utf-32-le", "surrogatepass"), "<u4")
            return self._table.take(code_points, mode="clip")
        n = len(self)
        try:
            ids = [self._table.get(token, n) for token in chunk]
        except TypeError:  # a list in the list
            odd = next(token for token in chunk if not hashable(token))
            raise ValueError(f"expected a list of tokens, got one with {odd!r} in it") from None
        return np.array(ids, np.min_scalar_type(n))

    def decode(self, ids: Iterable[int] | Array) -> Any:
        """The text of a sequence of ids: a string, or a list of tokens.

        Parameters
        ----------
        ids
            Whole numbers from 0 to below V.

        Raises
        ------
        ValueError
            For anything else.

        Examples
        --------
        >>> npchar.Vocabulary("abc").decode([2, 0, 1])
        'cab'
        """
        numbers = np.asarray(ids if isinstance(ids, (str, np.ndarray)) else list(ids))
        if not numbers.size:
            return self.join([])
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise ValueError(f"expected whole numbers from 0 to {len(self) - 1}, got {ids!r:.60}")
        if not 0 <= numbers.min() <= numbers.max() < len(self):
            wrong = numbers[(numbers < 0) | (numbers >= len(self))][0]
            raise ValueError(f"expected whole numbers from 0 to {len(self) - 1}, got {wrong}")
        return self.join(map(self.symbols.__getitem__, numbers.tolist()))

    def join(self, symbols: Iterable[Any]) -> Any:
        """Symbols as a text: a string, or a list of tokens.

        Examples
        --------
        >>> npchar.Vocabulary("abc").join(["c", "a"]), npchar.Vocabulary(["to", "be"]).join(["be"])
        ('ca', ['be'])
        """
        return list(symbols) if self.tokens else "".join(symbols)

    def require_text(self, text: Any) -> Text:
        """The text as a str or a list, or a TypeError if it is not one of this vocabulary.

        Examples
        --------
        >>> npchar.Vocabulary("abc").require_text(["c", "a"])
        Traceback (most recent call last):
        TypeError: expected a str, got list
        """
        if not self.tokens:
            if not isinstance(text, str):
                raise TypeError(f"expected a str, got {type(text).__name__}")
            return text
        expected = f"a list of tokens such as [{self.symbols[0]!r}]"
        if isinstance(text, (str, bytes)):
            raise TypeError(
                f"expected {expected}, got {type(text).__name__}; split the text into tokens as "
                "the vocabulary's was"
            )
        return as_list(text, expected)

    @property
    def unknown_id(self) -> int | None:
        """The id of the unknown symbol, which is read but never generated; None without one.

        Examples
        --------
        >>> npchar.Vocabulary.from_text("abracadabra", min_count=2).unknown_id
        3
        """
        return None if self.stand_in is None else list(self.symbols).index(self.stand_in)

    @property
    def symbol_name(self) -> str:
        """What a symbol is called: "character" or "token".

        Examples
        --------
        >>> npchar.Vocabulary("abc").symbol_name, npchar.Vocabulary(["to", "be"]).symbol_name
        ('character', 'token')
        """
        return "token" if self.tokens else "character"

    @property
    def id_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer type that holds every id.

        Examples
        --------
        >>> npchar.Vocabulary("abc").id_dtype
        dtype('uint8')
        """
        return np.min_scalar_type(len(self) - 1)

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        if isinstance(self.symbols, str):
            return isinstance(symbol, str) and len(symbol) == 1 and symbol in self.symbols
        return hashable(symbol) and symbol in self._table

    def __repr__(self) -> str:
        tokens = ", tokens=True" if self.tokens else ""
        stand_in = "" if self.stand_in is None else f", stand_in={self.stand_in!r}"
        documents = ", documents=True" if self.documents else ""
        return f"Vocabulary({self.symbols!r}{tokens}{stand_in}{documents})"

    def _repr_html_(self) -> str:
        """For notebooks: each symbol, its id when pointed at."""
        import html  # here, as it would add 2 ms to `import npchar`

        boxes = " ".join(
            f'<code title="id {k}" style="border:1px solid #8888;padding:0 .3em">'
            f"{html.escape(visible(symbol))}</code>"
            for k, symbol in enumerate(self.symbols)
        )
        return f"<div>{len(self)} {self.symbol_name}s: {boxes}</div>"


def as_list(items: Any, expected: str) -> Sequence[Any]:
    """The items of a list, array, Series or the like; a TypeError for anything else.

    Iterators are refused because they can be read only once, and sets, mappings and tables
    because their items or the order of these are probably not the texts.
    """
    if isinstance(items, (list, tuple)):
        return items
    refused = (str, bytes, Mapping, Set)
    one_dimension = getattr(items, "ndim", 1) == 1
    if isinstance(items, Collection) and not isinstance(items, refused) and one_dimension:
        return list(items)
    hint = "; pass list(...) of its texts or tokens" if isinstance(items, Iterable) else ""
    raise TypeError(f"expected {expected}, got {type(items).__name__}{hint}")


def require_documents(documents: Sequence[Text]) -> None:
    """Raise a ValueError or TypeError unless they are texts, none empty, none with an END."""
    if not documents:
        raise ValueError("expected at least one document, got none")
    kind = str if isinstance(documents[0], str) else list
    for k, document in enumerate(documents):
        if not isinstance(document, kind):
            collection = isinstance(document, Iterable) and not isinstance(document, (str, bytes))
            hint = "; pass list(...) of its tokens" if collection else ""
            raise TypeError(f"expected texts, got {type(document).__name__}: document {k}{hint}")
        if not len(document):
            raise ValueError(f"document {k} is empty; leave out the empty ones")
        if END in document:
            raise ValueError(
                f"document {k} has a U+0003 in it, which stands for the end of a document; "
                "remove it"
            )


def hashable(symbol: object) -> bool:
    """Whether it can be looked up; a tuple with a list in it cannot."""
    try:
        hash(symbol)
    except TypeError:
        return False
    return True


def storable(symbol: Any) -> Hashable:
    """A symbol in the form that files keep; a ValueError for one that they cannot."""
    if isinstance(symbol, np.generic):
        symbol = symbol.item()
    if isinstance(symbol, tuple):
        return tuple(storable(part) for part in symbol)
    if isinstance(symbol, bool) or not isinstance(symbol, (str, int)):
        raise ValueError(
            "expected single characters, or tokens that are strings, whole numbers or tuples of "
            f"these, got {symbol!r}"
        )
    return symbol


def in_order(symbols: set[Hashable]) -> list[Any]:
    """Symbols sorted: those of a kind by their value."""
    try:
        return sorted(symbols, key=lambda symbol: (type(symbol).__name__, symbol))
    except TypeError:  # tuples of different make-up
        return sorted(symbols, key=repr)


def visible(symbol: Hashable) -> str:
    """A symbol made visible: what cannot be printed, and a space, as a sign."""
    if not isinstance(symbol, str):
        return str(symbol)
    signs = {" ": "\u2423", "\n": "\u23ce", "\t": "\u21e5"}
    return "".join(signs.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in symbol)
