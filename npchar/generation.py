"""Writing on from prompts: the network, a character at a time.

Prompts come from ``model.py`` as text; each next character is chosen by
``sampling.py`` and fed back to the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from npchar.lstm import State
from npchar.network import Network
from npchar.parameters import Array
from npchar.sampling import chooser, require_temperature, require_top
from npchar.text import Vocabulary, require_seed


def write_on(
    network: Network,
    vocabulary: Vocabulary,
    prompts: Sequence[str],
    temperature: float | Sequence[float],
    top_k: int | None,
    top_p: float | None,
    seed: int | Sequence[int] | None,
    unknown: str,
) -> Iterator[Array]:
    """Check the arguments, read the prompts; then the next ids, (n,), without end."""
    require_top(top_k, top_p)
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
    rngs = [np.random.default_rng(one) for one in seeds(seed, len(prompts))]
    logits, states = read(network, encoded)
    choose = chooser(temperatures, len(vocabulary), rngs, top_k, top_p)
    return endless(network, logits, states, choose)


def seeds(seed: int | Sequence[int] | None, n: int) -> list[int | None]:
    """A seed for each of n streams: one number counts up, so that none are alike."""
    if seed is None:
        return [None] * n
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if len(seed) != n:
            raise ValueError(f"{len(seed)} seeds came for {n} prompts; pass one each, or one")
        for one in seed:
            require_seed(one)
        return list(seed)
    require_seed(seed)
    return [seed + k for k in range(n)]


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
        for start in range(0, length, 1024):  # in chunks: a tape takes 32 H bytes a character
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
    choose: Callable[[Array], Array],
) -> Iterator[Array]:
    """Choose ids by the logits, yield them, (n,), take a step with them, and so on."""
    step = network.steps_from(states)
    while True:
        ids = choose(logits)
        yield ids
        logits = step(ids)


def require_stops(stop: str | Sequence[str] | None) -> list[str]:
    """The strings that end a text, as a list; a ValueError for an empty one."""
    stops = [stop] if isinstance(stop, str) else list(stop or ())
    if not all(isinstance(one, str) and one for one in stops):
        raise ValueError(f"stop is {stop!r}; it must be a string or several, none of them empty")
    return stops


def until(characters: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """The characters up to the first of the stop strings, which is left out.

    What may be the beginning of one is held back until it turns out not to be.
    """
    held = ""
    for character in characters:
        held += character
        if any(held.endswith(stop) for stop in stops):
            stop = max((stop for stop in stops if held.endswith(stop)), key=len)
            yield from held[: len(held) - len(stop)]
            return
        while held and not any(stop.startswith(held) for stop in stops):
            yield held[0]
            held = held[1:]
    yield from held
