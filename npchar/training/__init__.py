"""Training: batches, optimizers, checkpoints and processes.

`npchar.Model.fit` is the entry point. An epoch is one pass over the text, in shuffled batches of
windows. Each training step computes the gradient of a batch, clips its norm (Pascanu et al. 2013,
`npchar.clip_by_global_norm`), and updates the weights with an optimizer and the current learning
rate. The optimizers are `npchar.RMSprop` (Hinton 2012), `npchar.Muon` (Jordan et al. 2024),
`npchar.Adam` (Kingma & Ba 2015) and `npchar.SGD` with momentum (Polyak 1964). After each epoch, the
loss on the validation set is computed. The best weights are restored at the end. Losses are in nats
per character.

>>> text = "the cat sat on the mat. " * 40
>>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
>>> history = model.fit(text, epochs=3, maxlen=20, workers=1, verbose=False)
>>> len(history.val_loss), list(history.baselines)[:2]
(3, ['uniform', 'unigram'])

Reading order: ``training/trainer.py``, ``step`` (one training step), ``optimizers``, ``schedule``,
``config`` (the defaults of `fit`), ``fit``, ``checkpoint``, ``divergence`` (restoring the best
weights), ``distributed`` (several processes), ``interrupts`` and ``progress``.

Checkpoints
===========
``model.fit(text, checkpoint="run.npz", resume=True)`` starts a run, or resumes it if the file
exists. The run is saved every 30 seconds, at its end, and on Ctrl-C, SIGTERM or an error.
``checkpoint_every=(500, "steps")`` sets another interval. Weights, losses and generated text are
the same to the bit as without the interruption, also in the middle of an epoch. Another text, model
or setting raises an error, except `epochs`, `learning_rate` and `schedule`. Another version of
NumPy or number of processes causes a warning. A file can be used by only one run at a time.
``kill PID`` (SIGTERM) ends a run that a script started in the background, where shells ignore
Ctrl-C.

``fit(minutes=5)`` measures some steps on this machine and chooses the number of epochs, such that
the complete schedule of the learning rate fills the time. ``npchar train --minutes 5`` also chooses
the number of units and the dropout.

If the loss spikes or is not a finite number, the best weights are restored and the learning rate is
divided by four. `npchar.History.events` reports this. After five rollbacks, the next divergence
raises `npchar.TrainingDiverged`. The weights of the epoch with the lowest validation loss are
restored at the end. ``patience=N`` stops a run early.

Several processes
=================
`fit` divides each batch among processes with one BLAS thread each. The default is one process per
core if the batch is large enough; ``workers=N`` sets another number. The process that calls `fit`
is rank 0. It adds the gradients of all processes, updates the weights, computes the validation
loss, and calls the callbacks. The other processes need no ``if __name__ == "__main__"``, work in
notebooks, and end together with rank 0. If one of them is killed, `fit` warns, repeats the step,
and continues in one process. The same seed on the same machine gives the same weights to the bit.
Another number of processes gives the same weights to rounding.

With ``workers="mpi"``, the ranks of an MPI job train one model, also across machines. All ranks
need the same arguments, model and text. If a rank fails, the job ends with its error message:

    pip install ".[mpi]"    # in a checkout of npchar
    mpiexec -n 4 python -m mpi4py examples/nietzsche.py --workers mpi

Without ``workers="mpi"``, a program under MPI trains a separate model on each rank.
"""

from npchar.training.distributed import rank as rank

__all__ = ["history", "optimizers", "schedule", "divergence", "distributed"]  # noqa: RUF022  (in the order of reading)
