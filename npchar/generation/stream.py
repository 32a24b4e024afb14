"""Generating text from prompts, a character at a time.

Prompts come from ``model.py`` as text; the prefill runs the network over them, then each next
character is drawn by ``generation/sampling.py`` and fed back to the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from npchar.arguments import require_seed
from npchar.arrays import Array
from npchar.generation.sampling import require_temperature, require_top, sampler
from npchar.network.long_text import read_long_text
from npchar.network.network import Network
from npchar.text.vocabulary import Text, Vocabulary

NEVER = -np.inf  # a logit
LONG = 10_000  # symbols of a prompt that is read in segments, which is quicker


def start_streams(
    network: Network,
    vocabulary: Vocabulary,
    prompts: Sequence[Text],
    temperature: float | Sequence[float],
    top_k: int | None,
    top_p: float | None,
    seed: int | Sequence[int] | None,
    unknown: Any,
) -> Iterator[Array]:
    """Check the arguments, prefill the prompts; then yield the next ids, (n,), without end."""
    require_top(top_k, top_p)
    if not prompts:
        raise ValueError("expected at least one prompt, got none; pass one text or a list of them")
    temperatures = np.ravel(temperature).tolist()
    if len(temperatures) not in (1, len(prompts)):
        raise ValueError(
            f"expected one temperature, or one for each of {len(prompts)} prompts, got "
            f"{len(temperatures)}"
        )
    temperatures = [require_temperature(value) for value in temperatures]
    temperatures *= len(prompts) // len(temperatures)
    encoded = [vocabulary.encode(prompt, unknown) for prompt in prompts]
    for prompt, ids in zip(prompts, encoded):
        if not len(ids):
            raise ValueError(
                f"the prompt {prompt!r} has no {vocabulary.symbol_name} of the vocabulary; "
                "expected at least one"
            )
    rngs = [np.random.default_rng(one) for one in seeds(seed, len(prompts))]
    logits, states = prefill(network, encoded)
    draw = sampler(temperatures, len(vocabulary), rngs, top_k, top_p)
    return stream(network, logits, states, draw, vocabulary.unknown_id)


def seeds(seed: int | Sequence[int] | None, n: int) -> list[int | None]:
    """A seed for each of n streams: one number counts up, so that all differ."""
    if seed is None:
        return [None] * n
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if len(seed) != n:
            raise ValueError(f"expected one seed, or one for each of {n} prompts, got {len(seed)}")
        for one in seed:
            require_seed(one)
        return list(seed)
    require_seed(seed)
    return [seed + k for k in range(n)]


def prefill(network: Network, prompts: Sequence[Array]) -> tuple[Array, list[Any]]:
    """The logits, (n, V), and states after each prompt.

    Prompts of equal length are batched, and those that are the same are read once.
    """
    network.require_finite()
    known: dict[bytes, Array] = {ids.tobytes(): ids for ids in prompts}
    distinct, V = list(known.values()), network.sizes.vocabulary_size
    logits = np.empty((len(distinct), V), network.parameters.flat.dtype)
    states = network.zero_states(len(distinct))
    for length in {len(ids) for ids in distinct}:
        where = [k for k, ids in enumerate(distinct) if len(ids) == length]
        if len(where) == 1 and length > LONG:
            last, reached = read_long(network, distinct[where[0]])
        else:
            ids = np.stack([distinct[k] for k in where], axis=1)  # (length, B)
            for _, outputs, tapes in network.read(ids):
                last, reached = outputs[-1], [tape.final_state for tape in tapes]
        logits[where] = network.dense.forward(last)
        for state, new in zip(states, reached):
            for array, values in zip(state, new):
                array[where] = values
    places = {key: k for k, key in enumerate(known)}
    of_each = [places[ids.tobytes()] for ids in prompts]
    return logits[of_each], [type(s)(*(array[of_each] for array in s)) for s in states]


def read_long(network: Network, ids: Array) -> tuple[Array, list[Any]]:
    """The top layer's output, (1, H), and the states after one long prompt."""
    last = np.empty((1, network.sizes.hidden_size), network.parameters.flat.dtype)

    def keep_last(positions: Array, outputs: Array) -> None:
        t, b = np.nonzero(positions == len(ids) - 1)
        last[: len(t)] = outputs[t, b]

    states = read_long_text(network, ids, keep_last)
    return last, states


def stream(
    network: Network,
    logits: Array,
    states: list[Any],
    draw: Callable[[Array], Array],
    never: int | None = None,
) -> Iterator[Array]:
    """Draw ids, (n,), from the logits, yield them and feed them to the network, without end.

    The id `never`, the unknown symbol, is never drawn.
    """
    step = network.stepper(states)
    while True:
        if never is not None:
            logits[:, never] = NEVER
        ids = draw(logits)
        yield ids
        logits = step(ids)


def prompt_list(prompt: Any, vocabulary: Vocabulary) -> list[Text] | None:
    """The prompts, if there are several: a list of strings, or of lists of tokens."""
    if vocabulary.tokens:
        lists = isinstance(prompt, list) and prompt and all(isinstance(p, list) for p in prompt)
        return list(prompt) if lists else None
    if not isinstance(prompt, (str, Sequence)):
        raise TypeError(f"prompt is {prompt!r}; expected a str or a list of them")
    return None if isinstance(prompt, str) else list(prompt)


def generated(
    streams: Iterator[Array], n: int, length: int, stops: Sequence[Text], vocabulary: Vocabulary
) -> list[Any]:
    """The texts of n streams, of a given length or up to the first of the stops."""
    if not stops:
        ids = np.stack([next(streams) for _ in range(length)], axis=1)  # (n, length)
        return [vocabulary.decode(row) for row in ids]
    texts: list[list[Any]] = [[] for _ in range(n)]
    going = set(range(n))
    for _ in range(length):
        ids = next(streams)
        for k in going:
            texts[k].append(vocabulary.symbols[ids[k]])
        going = {k for k in going if not stop_at_end(texts[k], stops)}
        if not going:
            break
    return [vocabulary.join(until(iter(text), stops)) for text in texts]


def require_stops(stop: Any, vocabulary: Vocabulary) -> list[Text]:
    """The stop texts as a list; a ValueError for an empty one."""
    one = isinstance(stop, str) or (vocabulary.tokens and prompt_list(stop, vocabulary) is None)
    stops: list[Text] = [] if stop is None else [stop] if one else list(stop)
    kinds = (list, tuple) if vocabulary.tokens else (str,)
    if not all(isinstance(each, kinds) and each for each in stops):
        what = "list of tokens" if vocabulary.tokens else "string"
        raise ValueError(f"stop is {stop!r}; expected a {what} or several, none of them empty")
    return stops


def stop_at_end(symbols: list[Any], stops: Sequence[Text]) -> Text | None:
    """The longest of the stops that the symbols end with."""
    found = [stop for stop in stops if symbols[-len(stop) :] == list(stop)]
    return max(found, key=len, default=None)


def until(symbols: Iterator[Any], stops: Sequence[Text]) -> Iterator[Any]:
    """The symbols up to the first of the stops, which is left out.

    What may be the beginning of one is held back until it turns out not to be.
    """
    held: list[Any] = []
    for symbol in symbols:
        held.append(symbol)
        if stop := stop_at_end(held, stops):
            yield from held[: len(held) - len(stop)]
            return
        while held and not any(list(stop[: len(held)]) == held for stop in stops):
            yield held.pop(0)
    yield from held
