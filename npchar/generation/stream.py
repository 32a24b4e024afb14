"""Generation of texts from prompts, one character at a time.

The network reads the prompts (the *prefill*). Then ``generation/sampling.py`` draws each next
character, which is fed back to the network. The methods of `npchar.Model` call this module.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from npchar.arguments import require_positive, require_seed
from npchar.arrays import Array
from npchar.generation.sampling import (
    forbid_repeats,
    require_temperature,
    require_top,
    reweight_distribution,
    sampler,
    softmax_weights,
)
from npchar.network.long_text import read_long_text
from npchar.network.network import Network, States
from npchar.text.documents import as_text, is_documents, require_end
from npchar.text.vocabulary import END, Decoded, Text, Vocabulary, as_list

__all__ = ["NewDocuments"]

Texts: TypeAlias = Sequence[Hashable | Sequence[Hashable]]  # a text, or a list of texts
Prompt = TypeVar("Prompt", bound=Texts)

MOST_DRAWN = 1000  # documents in a row without a new one
RECENT = 2_000  # symbols in which `no_repeat` looks for repeats
LONG_PROMPT = 10_000  # symbols, from which segments side by side are faster


class NewDocuments(list[Any]):
    """Generated documents that are new: see `Model.generate_documents`.

    Examples
    --------
    >>> documents = npchar.NewDocuments(["anna"])
    >>> documents, documents.copies, documents.repeats
    (['anna'], 0, 0)
    """

    copies = 0
    """The number of generated documents that were left out because they are not new."""
    repeats = 0
    """The number of generated documents that were left out because they are repeats."""


class GenerationOptions(NamedTuple):
    """The common arguments of `Model.generate`, `Model.stream` and `Model.generate_documents`."""

    temperature: float | Sequence[float]
    top_k: int | None
    top_p: float | None
    no_repeat: int | None
    stop: Texts | None
    seed: int | Sequence[int] | None
    unknown: Hashable


def generate(
    network: Network,
    vocabulary: Vocabulary,
    prompt: Prompt,
    length: int,
    options: GenerationOptions,
) -> Prompt:
    """The continuation of a prompt, or of each prompt in a list: see `Model.generate`."""
    require_positive(length=length)
    prompts, is_list = _text_list(prompt, vocabulary)
    if not prompts:
        raise ValueError("expected at least one prompt, got none; pass one text or a list of them")
    encoded = [vocabulary.encode(text, options.unknown, at_least=1) for text in prompts]
    stops = _stop_list(options.stop, vocabulary)
    texts = _continue(network, vocabulary, encoded, length, options, stops)
    return texts if is_list else texts[0]  # type: ignore[return-value]


def stream(
    network: Network, vocabulary: Vocabulary, prompt: Text, options: GenerationOptions
) -> Iterator[Hashable]:
    """The symbols that continue a prompt, endlessly or up to a stop: see `Model.stream`."""
    stops = _stop_list(options.stop, vocabulary)
    encoded = vocabulary.encode(prompt, options.unknown, at_least=1)
    ids = _streams(network, vocabulary, [encoded], options)
    symbols = (vocabulary.symbols[row[0]] for row in ids)
    return until(symbols, stops) if stops else symbols


def generate_documents(
    network: Network,
    vocabulary: Vocabulary,
    n: int,
    length: int,
    beginning: Text | None,
    new_to: Sequence[Text] | None,
    options: GenerationOptions,
) -> list[Decoded]:
    """Documents from their beginning to their end: see `Model.generate_documents`."""
    require_positive(n=n, length=length)
    require_seed(options.seed)  # type: ignore[arg-type]
    require_end(vocabulary)
    beginning = vocabulary.join([] if beginning is None else vocabulary.require_text(beginning))
    if END in beginning:
        raise ValueError("expected a beginning without U+0003, which ends a document")
    # A document begins after the end of the previous one: see ``text/documents.py``
    end = vocabulary.join([END])
    prompt = np.append(vocabulary.encode(end), vocabulary.encode(beginning, options.unknown))
    stops = [end, *_stop_list(options.stop, vocabulary)]

    def draw(first: int, count: int) -> list[Decoded]:
        seed = None if options.seed is None else options.seed + first  # type: ignore[operator]
        shifted = options._replace(seed=seed)
        texts = _continue(network, vocabulary, [prompt] * count, length, shifted, stops)
        return [beginning + text for text in texts]

    if new_to is None:
        return draw(0, n)
    return _new_documents(draw, n, [vocabulary.join(text) for text in as_list(new_to, "texts")])


def _new_documents(
    draw: Callable[[int, int], list[Decoded]], n: int, old: Iterable[Decoded]
) -> NewDocuments:
    """The first n documents that `draw` draws, without old ones, repeats and empty ones.

    The result has fewer, with a warning, if `MOST_DRAWN` documents in a row are not new.
    """
    documents = NewDocuments()
    known: dict[Hashable, str] = {"": "copies", (): "copies"}
    known |= dict.fromkeys(map(_hashable, old), "copies")
    drawn = latest = 0
    while drawn < latest + MOST_DRAWN:
        for document in draw(drawn, min(MOST_DRAWN, max(64, n - len(documents)))):
            drawn += 1
            kind = known.setdefault(_hashable(document), "new")
            if kind == "new":
                known[_hashable(document)] = "repeats"
                documents.append(document)
                latest = drawn
            elif kind == "copies":
                documents.copies += 1
            else:
                documents.repeats += 1
            if len(documents) == n:
                return documents
    warnings.warn(
        f"generated {len(documents):,} of {n:,} new documents: the last {drawn - latest:,} were "
        "copies or repeats; use a higher temperature, or ask for fewer",
        stacklevel=4,
    )
    return documents


def _hashable(document: Decoded) -> Hashable:
    """A document as a str or a tuple."""
    return document if isinstance(document, str) else tuple(document)


def next_probabilities(
    network: Network, vocabulary: Vocabulary, prompt: Text, temperature: float, unknown: Hashable
) -> Array:
    """The distribution of the next character, (V,): see `Model.next_probabilities`."""
    logits, _ = prefill(network, [vocabulary.encode(prompt, unknown, at_least=1)])
    if vocabulary.unknown_id is not None:
        logits[:, vocabulary.unknown_id] = -np.inf
    return reweight_distribution(softmax_weights(logits[0], 1.0), temperature)


def prefill(network: Network, prompts: Sequence[Array]) -> tuple[Array, States]:
    """The logits, (n, V), and states after each prompt. Prompts of equal length are batched."""
    network.require_finite()
    dtype = network.parameters.flat.dtype
    logits = np.empty((len(prompts), network.config.vocabulary_size), dtype)
    states = network.zero_states(len(prompts))
    for length in {len(ids) for ids in prompts}:
        rows = [k for k, ids in enumerate(prompts) if len(ids) == length]
        batch = np.stack([prompts[k] for k in rows], axis=1)  # (length, B)
        before = None
        if length > LONG_PROMPT and len(rows) == 1:
            before = read_long_text(network, batch[:-1, 0])
            batch = batch[-1:]
        for _, outputs, tapes in network.read(batch, before):
            last, final = outputs[-1], [tape.final_state for tape in tapes]
        logits[rows] = network.dense.forward(last)
        for state, new in zip(states, final):
            for array, values in zip(state, new):
                array[rows] = values
    return logits, states


def _streams(
    network: Network,
    vocabulary: Vocabulary,
    prompts: Sequence[Array],
    options: GenerationOptions,
) -> Iterator[list[int]]:
    """Check the options and prefill the prompts; yield the next id of each, without end."""
    require_top(options.top_k, options.top_p, options.no_repeat)
    n, seed = len(prompts), options.seed
    temperatures = [require_temperature(value) for value in np.ravel(options.temperature).tolist()]
    temperatures *= n if len(temperatures) == 1 else 1
    require_seed(None if isinstance(seed, Sequence) else seed)
    seeds = [None] * n if seed is None else seed
    seeds = seeds if isinstance(seeds, Sequence) else [seeds + k for k in range(n)]
    for name, values in (("temperature", temperatures), ("seed", seeds)):
        if len(values) != n:
            raise ValueError(
                f"expected one {name}, or a list of {n}, one for each prompt; got a list of "
                f"{len(values)}"
            )
    for value in seeds:
        require_seed(value)
    logits, states = prefill(network, prompts)
    rngs = [np.random.default_rng(value) for value in seeds]
    draw = sampler(temperatures, len(vocabulary), rngs, options.top_k, options.top_p)
    step = network.stepper(states)

    def ids() -> Iterator[list[int]]:
        row, no_repeat = logits, options.no_repeat
        recent = ["".join(map(chr, ids[-RECENT:])) for ids in prompts] if no_repeat else []
        while True:
            if vocabulary.unknown_id is not None:
                row[:, vocabulary.unknown_id] = -np.inf
            if no_repeat:
                recent = [text[-RECENT:] for text in recent]
                for k, text in enumerate(recent):
                    forbid_repeats(row[k], text, no_repeat)
            drawn = draw(row)
            recent = [text + chr(i) for text, i in zip(recent, drawn)]
            yield drawn.tolist()
            row = step(drawn)

    return ids()


def _continue(
    network: Network,
    vocabulary: Vocabulary,
    prompts: Sequence[Array],
    length: int,
    options: GenerationOptions,
    stops: Sequence[Text],
) -> list[Decoded]:
    """The texts after prompts, of a maximum length or up to the first of the stops."""
    texts: list[list[Hashable]] = [[] for _ in prompts]
    active = set(range(len(prompts)))
    for ids in itertools.islice(_streams(network, vocabulary, prompts, options), length):
        for k in list(active):
            texts[k].append(vocabulary.symbols[ids[k]])
            if stops and (stop := _stop_at_end(texts[k], stops)):
                del texts[k][-len(stop) :]
                active.remove(k)
        if not active:
            break
    return [vocabulary.join(text) for text in texts]


def until(symbols: Iterator[Hashable], stops: Sequence[Text]) -> Iterator[Hashable]:
    """The symbols before the first of the stops.

    Symbols that may be the beginning of a stop are delayed.
    """
    held_back: list[Hashable] = []
    for symbol in symbols:
        held_back.append(symbol)
        if stop := _stop_at_end(held_back, stops):
            yield from held_back[: -len(stop)]
            return
        while held_back and not any(list(stop[: len(held_back)]) == held_back for stop in stops):
            yield held_back.pop(0)
    yield from held_back


def _stop_at_end(symbols: Sequence[Hashable], stops: Sequence[Text]) -> Text | None:
    """The longest stop at the end of the symbols."""
    at_end = (stop for stop in stops if symbols[-len(stop) :] == list(stop))
    return max(at_end, key=len, default=None)


def _stop_list(stop: Texts | None, vocabulary: Vocabulary) -> list[Text]:
    """Return the stops as a list; raise a ValueError for an empty stop."""
    stops = [] if stop is None else _text_list(stop, vocabulary)[0]
    if not all(len(vocabulary.require_text(text)) for text in stops):
        raise ValueError(f"stop is {stop!r}; expected a text or several, none of them empty")
    return stops


def _text_list(text: Texts, vocabulary: Vocabulary) -> tuple[list[Text], bool]:
    """The texts of an argument that takes a text or a list of texts, and whether it is a list."""
    text = as_text(text, vocabulary.tokens)
    if is_documents(text, vocabulary.tokens):
        return list(text), True
    return [text], False
