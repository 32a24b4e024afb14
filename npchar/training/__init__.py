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

Reading order: ``training/trainer.py``, then ``step`` (from a batch to better weights),
``optimizers``, ``schedule``, ``config`` (the defaults of `fit`), ``fit``, ``checkpoint``,
``divergence`` (spikes and rolling back), ``distributed`` (several processes), ``interrupts`` and
``progress``.

Checkpoints
===========
``model.fit(text, checkpoint="run.npz", resume=True)`` starts a training, or resumes it. It is saved
every 30 seconds (``checkpoint_every=(500, "steps")`` and the like), at the end, and on Ctrl-C,
SIGTERM or an error. Weights, losses and generated text are the same to the bit as without the
interruption, also in the middle of an epoch. Another text, model or setting is an error; another
NumPy or number of processes is a warning. A second training into the same file is refused while
the first runs. ``kill PID`` (SIGTERM) ends a training that a script started in the background,
where its shell has Ctrl-C ignored.

``fit(minutes=5)`` measures some steps on this machine and chooses the number of epochs, such that
the complete schedule of the learning rate fills the time. ``npchar train --minutes 5`` also chooses
the number of units and the dropout.

When a loss spikes or is not a number, the best weights are put back, the learning rate is
quartered, and `npchar.History.events` says what happened; after five times it ends with
`npchar.TrainingDiverged`. The weights of the epoch with the lowest validation loss are restored at
the end; ``patience=N`` ends early.

Several processes
=================
`fit` divides each batch among processes with one BLAS thread each, one per core if the batch is
large enough (``workers=N`` to choose). The process that calls `fit` is rank 0. It adds the
gradients of all, changes the weights, validates, and calls the callbacks. The others need no
``if __name__ == "__main__"``, work in notebooks, and end with rank 0, however it ends. If one of
them is killed, `fit` warns, repeats the step and continues alone. The same seed on the same machine
gives the same weights to the bit; another number of processes gives them to rounding.

Across machines, one model is trained by the ranks of an MPI job with ``workers="mpi"``. All ranks
must have the same arguments, model and text. A rank that fails ends the job with its message:

    pip install "npchar[mpi]"
    mpiexec -n 4 python -m mpi4py examples/nietzsche.py --workers mpi

Without ``workers="mpi"`` a program that runs under MPI trains a model on each rank.
"""

from npchar.training.distributed import rank as rank

__all__ = ["history", "optimizers", "schedule", "divergence", "distributed"]  # noqa: RUF022  (in the order of reading)
