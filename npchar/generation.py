"""Writing on from prompts: the network, a character at a time.

Prompts come from ``model.py`` as text; each next character is chosen by
``sampling.py`` and fed back to the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from npchar.lstm import State
from npchar.network import Network
from npchar.parameters import Array
from npchar.sampling import draw, require_temperature, soften
from npchar.text import Vocabulary, require_seed


def write_on(
    network: Network,
    vocabulary: Vocabulary,
    prompts: Sequence[str],
    temperature: float | Sequence[float],
    seed: int | None,
    unknown: str,
) -> Iterator[Array]:
    """Check the arguments, read the prompts; then the next ids, (n,), without end."""
    require_seed(seed)
    if not prompts:
        raise ValueError("no prompt came; pass one string or a list of them")
    temperatures = np.ravel(temperature).tolist()
    if len(temperatures) not in (1, len(prompts)):
        raise ValueError(
            f"{len(temperatures)} temperatures came for {len(prompts)} prompts; pass one "
            "for all, or one for each"
        )
    for value in temperatures:
        require_temperature(value)
    temperatures *= len(prompts) // len(temperatures)
    encoded = [vocabulary.encode(prompt, unknown) for prompt in prompts]
    for prompt, ids in zip(prompts, encoded):
        if not len(ids):
            raise ValueError(
                f"the prompt {prompt!r} has no character that the model knows; give it at "
                "least one to go on from"
            )
    logits, states = read(network, encoded)
    return endless(network, logits, states, temperatures, np.random.default_rng(seed))


def read(network: Network, prompts: Sequence[Array]) -> tuple[Array, list[State]]:
    """The logits, (n, V), and states after each prompt; those of a length go together."""
    V, H, layers, _ = network.sizes
    dtype = network.parameters.flat.dtype
    logits = np.empty((len(prompts), V), dtype)
    states = [State(*np.empty((2, len(prompts), H), dtype)) for _ in range(layers)]
    for length in {len(ids) for ids in prompts}:
        where = [k for k, ids in enumerate(prompts) if len(ids) == length]
        ids = np.stack([prompts[k] for k in where], axis=1)  # (length, B)
        reached = None
        for start in range(0, length, 1024):  # in chunks: a tape takes 28 H bytes a character
            outputs, tapes = network.forward(ids[start : start + 1024], reached)
            reached = [tape.final_state for tape in tapes]
        logits[where] = network.dense.forward(outputs[-1])
        for state, new in zip(states, reached or []):
            state.h[where], state.c[where] = new
    return logits, states


def endless(
    network: Network,
    logits: Array,
    states: list[State],
    temperatures: list[float],
    rng: np.random.Generator,
) -> Iterator[Array]:
    """Choose ids by the logits, yield them, (n,), take a step with them, and so on."""
    step = network.steps_from(states)
    weights = np.empty(logits.shape)
    rows = {t: np.flatnonzero(np.equal(temperatures, t)) for t in temperatures}
    while True:
        for u in rng.random((256, len(logits), 1)):  # drawing one by one costs 1 µs each
            if len(rows) == 1:
                weights = soften(logits, temperatures[0])
            else:
                for temperature, where in rows.items():
                    weights[where] = soften(logits[where], temperature)
            ids = draw(weights, u)
            yield ids
            logits = step(ids)
