"""Files: models and trainings on the disk, written whole or not at all, read with suspicion.

`npchar.Model.save` and `npchar.Model.load` are the way in. A file is an ``.npz`` that
``numpy.load`` opens: arrays by name, and one JSON text. There is no pickle in it, so that a
stranger's file can at worst be refused.

>>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
>>> model.save("abc.npz")
>>> with np.load("abc.npz") as file:
...     print({name: file[name].shape for name in file if name.startswith("lstm")})
...     print(file["configuration"].tobytes().decode()[:23])
{'lstm0.Wx': (4, 3, 4), 'lstm0.Wh': (4, 4, 4), 'lstm0.b': (4, 4)}
{"format": 1, "npchar":

The format
==========
All members are stored, not compressed; numbers are little-endian.

- ``configuration``: bytes of JSON: ``format`` (1; 2 where the first release could not read it),
  ``npchar`` (the version that wrote it), and ``model``: ``characters`` (a string, in the order of
  their ids) or ``tokens`` (a list; a tuple is a list in it), ``hidden_size``, ``num_layers``,
  ``dropout``, ``dtype``, and where they are not the usual ``layer`` ("lstm"),
  ``recurrent_dropout`` (0), ``stored`` (the type in the file: ``dtype``; or "float16") and
  ``stand_in`` (none). Version 2 adds these keys beside ``model``, which version 1.0 ignores:
  ``epochs_trained``; ``trained_on``, the ``sha256`` of the ids of the text of the latest training
  and its ``validation_split`` (an empty table for a model that was never trained, no key for one
  of an unknown text); and, where they apply, ``documents`` (false: U+0003 is a character of the
  text; without this key it is the end of a document) and ``lower_case`` (true: the command line
  lower-cases texts for this model).
- ``lstmK.Wx`` (4, D, H), ``lstmK.Wh`` (4, H, H), ``lstmK.b`` (4, H): of each layer K from 0, gates
  in the order i, f, o, g. Of other layers: ``gruK.Wx`` (3, D, H), ``gruK.Wh`` (3, H, H),
  ``gruK.b`` (3, H), ``gruK.bq`` (H,), gates in the order r, z, n; ``rnnK.Wx`` (D, H), ``rnnK.Wh``
  (H, H), ``rnnK.b`` (H,); ``convK.W`` (2, 2, D, H) of the value and the gate, for the input now
  and the one before, ``convK.b`` (2, H).
- ``dense.W`` (H, V), ``dense.b`` (V,): of the output layer.
- ``training.v``, ``training.best``, ``training.best_v``, ``training.order``: in a checkpoint
  alone: what the optimizer keeps, the best weights so far and what it kept then (flat, like all
  weights one after the other), and the order of the epoch's windows. The configuration has
  ``training`` then: settings, position, history, the random generator, and a hash of the text.

A new file takes the old one's place only when it is whole and on the disk. One is read only if it
has exactly these members, of the types and shapes that its configuration implies. Files of
formats 1 and 2 load for good. Downloads are kept in the system's place for caches, or in
``NPCHAR_CACHE``.
"""

__all__ = ["archive", "description"]
