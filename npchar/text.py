"""Text to ids to windows to batches.

Text comes from ``corpus.py`` or from the user; batches of ids go to
``lstm.py``. Ids are stored in the smallest unsigned type (a byte a character
for most texts), and windows and batches index that one array: no one-hot
tensor, no copy of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from npchar.parameters import Array

ENCODE_CHUNK = 1 << 20  # characters turned into code points at a time, 4 bytes each


class UnknownCharacterError(ValueError):
    """A character that the vocabulary does not have.

    Attributes
    ----------
    character
        The first such character.
    position
        Where in the text it stands, from 0.
    """

    def __init__(self, character: str, position: int) -> None:
        super().__init__(
            f"the character {character!r} (U+{ord(character):04X}) at position {position} is "
            "not in the vocabulary; leave it out, or pass unknown='skip' to skip such "
            "characters or unknown=' ' to put a space in their place"
        )
        self.character = character
        self.position = position


class Vocabulary:
    """The characters a model knows, sorted; a character's id is its place among them.

    Immutable, and the same for the same characters in any order.

    Parameters
    ----------
    characters
        The characters; duplicates count once.

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary.characters
    'ehlo'
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0], dtype=uint8)
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    """

    __slots__ = ("_characters", "_table")
    _characters: str
    _table: Array

    def __init__(self, characters: Iterable[str]) -> None:
        distinct = sorted(set(characters))
        for character in distinct:
            if not isinstance(character, str) or len(character) != 1:
                raise ValueError(
                    f"a vocabulary is made of single characters; {character!r} is not one"
                )
        if not distinct:
            raise ValueError("a vocabulary needs at least one character; none came")
        object.__setattr__(self, "_characters", "".join(distinct))
        # From code point to id; len(self), one past the last id, means unknown.
        code_points = [ord(character) for character in distinct]
        table = np.full(code_points[-1] + 2, len(distinct), np.min_scalar_type(len(distinct)))
        table[code_points] = np.arange(len(distinct))
        object.__setattr__(self, "_table", table)

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The vocabulary of all characters in `text`."""
        if not text:
            raise ValueError("the text is empty; a vocabulary needs at least one character")
        return cls(text)

    @property
    def characters(self) -> str:
        """The characters in the order of their ids."""
        return self._characters

    def encode(self, text: str, unknown: str = "error") -> Array:
        """The ids of a text, (n,), in the smallest unsigned type that holds them.

        Parameters
        ----------
        text
            Any text.
        unknown
            What to do with a character outside the vocabulary: "error", "skip"
            it, or put a character of the vocabulary, given here, in its place.

        Raises
        ------
        UnknownCharacterError
            With `unknown="error"`, naming the first one and its position.
        """
        if not isinstance(text, str):
            raise TypeError(f"a {type(text).__name__} came where a text should; pass a str")
        if unknown not in ("error", "skip") and unknown not in self:
            raise ValueError(
                f"unknown is {unknown!r}; it must be 'error', 'skip' or a character of the "
                "vocabulary"
            )
        chunks = []
        for start in range(0, len(text), ENCODE_CHUNK):
            chunk = text[start : start + ENCODE_CHUNK]
            code_points = np.frombuffer(chunk.encode("utf-32-le", "surrogatepass"), "<u4")
            ids = self._table.take(code_points, mode="clip")
            is_unknown = ids == len(self)
            if is_unknown.any():
                if unknown == "error":
                    position = int(is_unknown.argmax())
                    raise UnknownCharacterError(chunk[position], start + position)
                if unknown == "skip":
                    ids = ids[~is_unknown]
                else:
                    ids[is_unknown] = self._characters.index(unknown)
            chunks.append(ids.astype(self.id_dtype, copy=False))
        return np.concatenate(chunks) if chunks else np.empty(0, self.id_dtype)

    def decode(self, ids: Iterable[int] | Array) -> str:
        """The text of a sequence of ids."""
        numbers = [int(i) for i in ids]
        for i in numbers:
            if not 0 <= i < len(self):
                raise ValueError(f"the id {i} lies outside the vocabulary's 0 to {len(self) - 1}")
        return "".join([self._characters[i] for i in numbers])

    @property
    def id_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a vocabulary cannot be changed; make another")

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[str]]:
        return Vocabulary, (self._characters,)

    def __len__(self) -> int:
        return len(self._characters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._characters)

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and character in self._characters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._characters == other._characters

    def __hash__(self) -> int:
        return hash(self._characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self._characters!r})"


def windows(ids: Array, maxlen: int = 60, step: int = 3) -> Array:
    """Every `step`-th window of `maxlen` ids and the one after it.

    Parameters
    ----------
    ids
        A text's ids, (n,).
    maxlen
        Input characters of a window.
    step
        Characters between the starts of two windows.

    Returns
    -------
    Array
        (windows, maxlen + 1), a read-only view of `ids`: nothing is copied.
    """
    require_positive(maxlen=maxlen, step=step)
    if len(ids) < maxlen + 1:
        raise ValueError(
            f"the text has {len(ids)} characters; a window of maxlen={maxlen} and its next "
            f"character need {maxlen + 1}: pass a longer text or a smaller maxlen"
        )
    return sliding_window_view(ids, maxlen + 1)[::step]


def shuffled(n: int, rng: np.random.Generator) -> Array:
    """The numbers below n in a random order, (n,), in the smallest unsigned type."""
    order = np.arange(n, dtype=np.min_scalar_type(n))
    rng.shuffle(order)
    return order


def batches(view: Array, order: Array, batch_size: int, first: int = 0) -> Iterator[Array]:
    """The windows in a given order, in batches: one pass over the text.

    Parameters
    ----------
    view
        What `windows` returned, (n, maxlen + 1).
    order
        Which of them, one after the other.
    batch_size
        Windows in a batch; the last batch has what is left.
    first
        The number of the batch to begin with.

    Yields
    ------
    Array
        (maxlen + 1, B) ids, time first. The rows up to the last are a batch's
        inputs, the rows from the second its targets.
    """
    require_positive(batch_size=batch_size)
    for start in range(first * batch_size, len(order), batch_size):
        yield np.ascontiguousarray(view[order[start : start + batch_size]].T)


def require_seed(seed: int | None) -> None:
    """Raise a ValueError unless `seed` is None or a whole number from 0."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if seed is not None and not (whole and seed >= 0):
        raise ValueError(f"seed is {seed!r}; it must be a whole number, 0 or more")


def require_positive(**arguments: int) -> None:
    """Raise a ValueError that names the argument which is not a whole number above 0."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number, 1 or more")
