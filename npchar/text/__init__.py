"""Text to ids: what a model reads, and back.

A text is a string, or a list of tokens. It is loaded (`npchar.load_corpus`), its distinct symbols
become a `npchar.Vocabulary`, whose places in order are their ids, and the ids become windows:
`maxlen` of them as input and the one after each as its target. Nothing is copied on the way: a
window is a view of one array of ids, a byte a character for most texts.

>>> text = "to be or not to be"
>>> vocabulary = npchar.Vocabulary.from_text(text)
>>> ids = vocabulary.encode(text)  # (n,)
>>> npchar.windows(ids, maxlen=5, step=6)[0], vocabulary.decode(ids[:6])
(array([6, 4, 0, 1, 2, 0], dtype=uint8), 'to be ')

Many texts that have nothing to do with each other, as names or poems, are *documents*: a list of
strings, and a vocabulary by `npchar.Vocabulary.from_documents`, which also has a symbol for their
end. `npchar.examine` looks a text over for faults before hours are spent on it, and
``npchar.text.ngrams`` counts the n-gram baselines that say what a loss is worth.

Next: `npchar.layers`, which turn ids into predictions.
"""

__all__ = ["corpus", "vocabulary", "batches", "examine", "download"]  # noqa: RUF022  (in the order of reading)
