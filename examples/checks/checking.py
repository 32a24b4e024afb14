"""How the exercises are checked: calls, comparisons, messages."""

from __future__ import annotations

import copy
import inspect
import io
import reprlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from npchar.layers.lstm import LSTM

CASES = 3  # random cases for each exercise


class Wrong(Exception):
    """An answer is wrong; the message says how."""


class Exercise(NamedTuple):
    """A function to write, and its check."""

    number: str
    name: str
    check: Callable[[Callable[..., Any], np.random.Generator], None]


EXERCISES: list[Exercise] = []


def exercise(number: str, name: str) -> Callable[[Any], Any]:
    """Make the decorated function the check of an exercise.

    It is called with the student's function and a random generator, and raises Wrong.
    """

    def register(check: Any) -> Any:
        EXERCISES.append(Exercise(number, name, check))
        return check

    return register


def main(functions: Mapping[str, Any], numbers: Sequence[str]) -> int:
    """Check the named exercises ("3.2", or "3" for a notebook), or all; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console may lack some of the characters
        sys.stdout.reconfigure(errors="replace")
    exercises = sorted(EXERCISES)
    known = {n for one in exercises for n in (one.number, one.number[0])}
    if unknown := [n for n in numbers if n not in known]:
        print(f"there is no exercise {unknown[0]}; there are:")
        print("\n".join(f"  {one.number} {one.name}" for one in exercises))
        return 2
    verdicts: list[str] = []
    for number, name, check in exercises:
        if not numbers or number in numbers or number[0] in numbers:
            verdicts.append(verdict(functions.get(name), name, check))
            print(f"{number} {name} ... {verdicts[-1]}", flush=True)
    right = verdicts.count("right")
    todo = sum(said.startswith("not yet") for said in verdicts)
    wrong = len(verdicts) - right - todo
    print(f"\n{right} of {len(verdicts)} right, {wrong} wrong, {todo} not yet")
    return 0 if right == len(verdicts) else 1


def check(function: Callable[..., Any]) -> None:
    """Check one function and print the verdict, as in a cell of a notebook."""
    for number, name, how in EXERCISES:
        if name == function.__name__:
            print(f"{number} {name} ... {verdict(function, name, how)}")
            return
    raise ValueError(f"expected a function with the name of an exercise, got {function.__name__}")


def verdict(function: Callable[..., Any] | None, name: str, check: Any) -> str:
    """The verdict on a function: "right", "not yet" or "wrong: ...".

    If the function calls an earlier exercise that is not right, the verdict names that exercise.
    """
    if not inspect.isfunction(function):
        return f"wrong: there is no function {name}"
    said = verdict_alone(function, check)
    if said != "right":
        for earlier in exercises_called(function, name):
            why = verdict(function.__globals__[earlier.name], earlier.name, earlier.check)
            if why != "right":
                call_of = f"it calls {earlier.name}, exercise {earlier.number}, which is "
                if why.startswith("not yet"):
                    return f"not yet: {call_of}not written yet"
                return f"wrong: {call_of}{why}"
    return said


def exercises_called(function: Callable[..., Any], name: str) -> list[Exercise]:
    """The earlier exercises whose functions a student's function calls."""
    numbers = {one.name: one.number for one in EXERCISES}
    used = {
        n for n in names_in(function.__code__) if inspect.isfunction(function.__globals__.get(n))
    }
    earlier = [e for e in EXERCISES if e.name in used and e.number < numbers.get(name, "")]
    return sorted(earlier)


def names_in(code: CodeType) -> Iterator[str]:
    """The global names in code and in its inner functions."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def verdict_alone(function: Callable[..., Any], check: Any) -> str:
    """The verdict on the function, without the functions that it calls."""
    try:
        with np.errstate(all="ignore"):  # for our own arithmetic
            for seed in range(CASES):
                check(function, np.random.default_rng(seed))
    except NotImplementedError:
        return "not yet"
    except Wrong as wrong:
        return f"wrong: {wrong}"
    except Exception as error:  # an unforeseen result made the check fail
        return f"wrong: the result cannot be compared: {type(error).__name__}: {error}"
    return "right"


def call(
    function: Callable[..., Any],
    *arguments: Any,
    case: str = "",
    mistakes: Mapping[str, Any] | None = None,
) -> Any:
    """The result of a student's function, which must neither warn nor change its arguments.

    If NumPy warns, the result without the warning is compared with `mistakes`, to name the cause.
    """
    case = case and f" ({case})"
    before = copy.deepcopy(arguments)
    try:
        with np.errstate(all="warn", under="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # complex to real is one too
            result = function(*arguments)
    except (NotImplementedError, Wrong):
        raise
    except RuntimeWarning as warning:
        cause = cause_of_warning(function, before, mistakes or {})
        raise Wrong(f"{cause}NumPy warns{line(function, warning)}: {warning}{case}") from warning
    except Exception as error:
        kind = type(error).__name__
        raise Wrong(f"it raises {kind}{line(function, error)}: {error}{case}") from error
    for name, old, new in zip(function.__code__.co_varnames, before, arguments):
        pairs = zip(old, new) if isinstance(old, list) else [(old, new)]
        if any(isinstance(a, np.ndarray) and not np.array_equal(a, b, True) for a, b in pairs):
            raise Wrong(f"it changes its argument {name}; work on a copy")
    if result is None:
        raise Wrong("it returns None; is there a `return`?")
    return result


def cause_of_warning(
    function: Callable[..., Any], arguments: Sequence[Any], mistakes: Mapping[str, Any]
) -> str:
    """The sentence on the mistake with the same result as a function that warned, or ""."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = function(*copy.deepcopy(arguments))
            return next((f"{s}; " for s, value in mistakes.items() if alike(result, value)), "")
        except Exception:  # the warning itself is the message
            return ""


def line(function: Callable[..., Any], error: BaseException) -> str:
    """The line of the student's file that raised an error."""
    file = function.__code__.co_filename
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" in line {lines[-1]}" if lines else ""


def parts(came: Any, names: str) -> Sequence[Any]:
    """A result of several values."""
    count = len(names.split(", "))
    if not isinstance(came, (tuple, list)) or len(came) != count:
        got = f"{len(came)} values" if isinstance(came, (tuple, list)) else "one value"
        raise Wrong(f"expected {count} values ({names}), got {got}")
    return came


def expect(
    came: Any,
    expected: Any,
    what: str = "",
    mistakes: Mapping[str, Any] | None = None,
    case: str = "",
    tolerance: float = 1e-9,
) -> None:
    """Raise Wrong unless `came` equals `expected`; the message says how they differ.

    Parameters
    ----------
    came, expected
        Arrays or numbers.
    what
        The name of the result.
    mistakes
        Sentences about usual mistakes, each with its result.
    case
        A description of the arguments.
    tolerance
        Relative to the largest expected number.
    """
    what, case = what and f"{what}: ", case and f" ({case})"
    given = came
    try:
        came = np.asarray(given)
    except ValueError:
        raise Wrong(f"{what}expected an array, got a list of unequal rows{case}") from None
    expected = np.asarray(expected)
    if came.dtype.kind not in "biufc":
        raise Wrong(f"{what}expected numbers, got {reprlib.repr(given)}{case}")
    if came.dtype.kind == "c" and np.isrealobj(expected):
        raise Wrong(f"{what}expected real numbers, got complex numbers{case}")

    size = float(np.abs(expected).max(initial=0)) or 1

    def close(other: Any) -> bool:
        return alike(came, other, tolerance, size)

    if close(expected):
        return
    difference = compared(came, expected)
    for sentence, value in (mistakes or {}).items():
        if close(value):
            raise Wrong(f"{what}{sentence}; {difference}{case}")
    if alike(came, expected, 1e-5, size):
        cause = "only some digits are right: a less precise type, or a small number added?"
        if came.dtype in (np.float32, np.float16):
            cause = f"the type is {came.dtype}, which has too few digits; keep float64"
        raise Wrong(f"{what}{cause}; {difference}{case}")
    if came.shape == expected.shape and expected.size > 1:
        factor = float(np.vdot(expected, came).real / np.vdot(expected, expected).real)
        if close(-expected):
            raise Wrong(f"{what}the sign is wrong; {difference}{case}")
        if np.isfinite(factor) and factor != 0 and close(factor * expected):
            raise Wrong(
                f"{what}every number is {factor:.4g} times the right one; {difference}{case}"
            )
    if came.ndim == 2 and close(expected.T):
        raise Wrong(f"{what}it is transposed; {difference}{case}")
    raise Wrong(f"{what}{difference}{case}")


def alike(came: Any, other: Any, tolerance: float = 1e-9, size: float = 1) -> bool:
    """Whether two arrays have the same shape and, within the tolerance, the same numbers."""
    return np.shape(came) == np.shape(other) and bool(
        np.allclose(came, other, rtol=tolerance, atol=tolerance * size, equal_nan=True)
    )


def compared(came: np.ndarray, expected: np.ndarray) -> str:
    """The expected and the actual value at the place with the largest error."""
    if came.shape != expected.shape:
        return f"expected the shape {expected.shape}, got {came.shape}"
    came = came.astype(float)  # a bool cannot be printed so
    if not came.ndim:
        return expected_got(expected, came)
    error = np.abs(came - expected)
    error[np.isnan(error)] = np.inf
    worst = np.unravel_index(error.argmax(), error.shape)
    place = ", ".join(str(int(k)) for k in worst)
    return f"at [{place}] {expected_got(expected[worst], came[worst])}"


def expected_got(expected: Any, came: Any) -> str:
    """Two numbers, with more digits if seven do not distinguish them."""
    digits = 7 if f"{expected:.7g}" != f"{came:.7g}" else 17
    return f"expected {expected:.{digits}g}, got {came:.{digits}g}"


# Shared by several checks

T, B, D, H, V = 5, 2, 6, 3, 7


def sigma(z):
    """The sigmoid, for numbers of moderate size."""
    return 1 / (1 + np.exp(-z))


def softmax(z, axis=-1):
    """Probabilities of logits."""
    weights = np.exp(z - z.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def some_lstm(rng):
    """A layer with random weights, so that all gates differ."""
    return LSTM(
        rng.normal(size=(4, D, H)), 0.7 * rng.normal(size=(4, H, H)), rng.normal(size=(4, H))
    )
