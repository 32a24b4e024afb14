"""Text to ids, and ids to text.

A text is a string or a list of tokens. `npchar.load_corpus` loads it. A `npchar.Vocabulary` has the
distinct symbols of a text in order; the id of a symbol is its position. `npchar.windows` returns
windows of `maxlen` ids as input, followed by the next id. The target of each id is the id after it.
Windows are views of one array of ids, which takes one byte per character for most texts.

>>> text = "to be or not to be"
>>> vocabulary = npchar.Vocabulary.from_text(text)
>>> ids = vocabulary.encode(text)  # (n,)
>>> npchar.windows(ids, maxlen=5, step=6)[0], vocabulary.decode(ids[:6])
(array([6, 4, 0, 1, 2, 0], dtype=uint8), 'to be ')

Independent texts, such as names or poems, are *documents*: a list of strings, with a vocabulary
from `npchar.Vocabulary.from_documents`, which also has a symbol for the end of a document.
`npchar.examine` checks a text for faults before training. ``npchar.text.ngrams`` computes n-gram
baselines, with which the loss of a model can be compared.

Next: `npchar.layers`, which compute predictions from ids.
"""

__all__ = ["corpus", "vocabulary", "batches", "examine", "download"]  # noqa: RUF022  (in the order of reading)
