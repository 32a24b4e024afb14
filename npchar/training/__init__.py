"""Training: from gradients to better weights, watched over and kept.

`npchar.Model.fit` is the way in. An epoch is one pass over the text, in shuffled batches of
windows: of each the gradient, its norm clipped (Pascanu et al. 2013, `npchar.clip_by_global_norm`),
the learning rate of the moment, and a step of the optimizer: `npchar.RMSprop` (Hinton 2012),
`npchar.Adam` (Kingma & Ba 2015) or `npchar.SGD` with momentum (Polyak 1964). After each epoch the
loss of a held-out part is computed, and the best weights are kept. Losses are nats per character.

>>> text = "the cat sat on the mat. " * 40
>>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
>>> history = model.fit(text, epochs=3, maxlen=20, workers=1, verbose=False)
>>> len(history.val_loss), list(history.baselines)[:2]
(3, ['uniform', 'unigram'])

Reading order: ``training/loop.py``, then ``steps`` (a step, from a batch to better weights),
``optimizers``, ``settings`` and ``recipe`` (what `fit` does where nobody says otherwise), ``guard``
(spikes and rolling back), ``interrupts`` and ``progress``. Several processes make a step together
in ``parallel`` and ``worker``, several machines in ``mpi``: a batch is shared out, and the parts of
its gradient are added up.

A training that is not lost
===========================
``model.fit(text, checkpoint="run.npz", resume=True)`` begins, or goes on where it ended. It saves
every 30 seconds (``checkpoint_every=(500, "steps")`` and the like), at the end, and on Ctrl-C,
SIGTERM or an error. Weights, losses and generated text come out as if it had never been
interrupted, to the bit, in the middle of an epoch too. Another text, model or setting is an error;
another NumPy or number of processes a warning. A second training into the same file is refused
while the first runs. ``kill PID`` (SIGTERM) is what ends a training that a script started in the
background, where its shell has Ctrl-C ignored. ``python tests/files/survive.py`` kills trainings
and lets disks fail at any moment.

When a loss spikes or is not a number, the best weights are put back, the learning rate is
quartered, and `npchar.History.events` says what happened; after five times it ends with
`npchar.TrainingDiverged`. The weights of the epoch with the lowest validation loss are restored at
the end; ``patience=N`` ends early.

More than one core, more than one machine
=========================================
`fit` shares each batch out over worker processes, one BLAS thread each, as many as suit
(``workers=N`` to choose). They make up to eight steps before they hear from `fit` again, fewer
where these would take more than half a second. They need no ``if __name__ == "__main__"``, work in
notebooks, and end with the process that started them, however it ends; of a worker that is killed
the model loses those steps at most. The same seed on the same machine gives the same weights to the
bit; another number of workers gives them to rounding. Where no process can be started, as in a
browser, `fit` computes everything itself.

Across machines, one model is trained by the ranks of an MPI job, of which rank 0 alone prints,
validates and saves; a rank that fails ends the job with its message:

    pip install "npchar[mpi]"
    mpiexec -n 4 python -m mpi4py examples/nietzsche.py
"""

__all__ = ["history", "optimizers", "guard", "parallel", "mpi"]  # noqa: RUF022  (in the order of reading)
