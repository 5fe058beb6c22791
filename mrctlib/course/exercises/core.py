"""Exercises that are checked in the cell where they are written, and questions that answer back.

One module for each notebook, named after it, imported when an exercise is asked for. Declaring an exercise there
registers it:

    Exercise(
        "translation.cycle_consistency",
        reference=losses.cycle_consistency,
        inputs=lambda: (torch.randn(2, 1, 8, 8, requires_grad=True), torch.randn(2, 1, 8, 8)),
        wrong=[(lambda a, b: ((a - b) ** 2).mean(), "This is the mean squared difference: take the absolute value.")],
    )

The student's side is `exercise`, `question` and `reveal`. All verdicts come from `check`, which prints nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import dis
import html
import importlib
import inspect
import math
import os
import pkgutil
import random
import re
import reprlib
import string
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from mrctlib.runtime import InputError, derive_seed

TRIALS = 3  # one draw can agree by luck (a ReLU where nothing is negative); three hardly can

registry: dict[str, Exercise | Question] = {}
"""Everything declared so far, by name."""

homes: dict[str, str] = {}
"""The module that declares each of them, by name; there is one for each notebook."""

verdicts: dict[str, Verdict] = {}
"""The last verdict on each exercise and question of this session, in the order they were met, for a grader."""


# What a student uses


def exercise(name: str) -> Callable[[Callable], Callable]:
    """Check the decorated function on the spot, say how it went, and bind its name to something that works.

    That is the student's function where it is right, else the course's own, so every later cell runs.

    Raises:
        InputError: there is no exercise of that name.
    """
    if not isinstance(name, str):
        raise InputError('write @exercise("lab.name"), with the name of the exercise in brackets')
    item = find(name)
    if not isinstance(item, Exercise):
        raise InputError(f'{name} is a question: answer it with question("{name}", ...)')

    def decorate(function: Callable) -> Callable:
        verdict = check(item, function)
        works = "your function" if verdict.status == "right" else "the course's own version"
        stuck = f'. Stuck? reveal("{name}")' if verdict.status == "open" else "."
        _tell(verdict, f"{'Later' if verdict.status == 'wrong' else 'later'} cells use {works}{stuck}")
        return function if verdict.status == "right" else item.reference

    return decorate


def question(name: str, answer: Any = ...) -> None:
    """Ask (when `answer` is `...`), or say whether a number or the letter of a choice is right.

    Raises:
        InputError: there is no question of that name.
    """
    item = find(name)
    if not isinstance(item, Question):
        raise InputError(f'{name} is an exercise: write a function under @exercise("{name}")')
    _tell(check(item, answer))


def reveal(name: str) -> None:
    """Show the course's own solution of an exercise, or the answer to a question with its explanation.

    Raises:
        InputError: there is no exercise or question of that name.
    """
    _show(find(name).solution())


# What tests and graders use


@dataclass(frozen=True)
class Verdict:
    """What was found about one answer; `misconception` is the hint of the known wrong answer that it matches."""

    name: str
    status: Literal["open", "right", "wrong"]
    message: str = ""
    misconception: str | None = None

    def __str__(self) -> str:
        symbol, words, _ = _LOOKS[self.status]
        return f"{symbol} {self.name} {words}" + (f": {self.message}" if self.message else "")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The same words twice: as text, and as HTML whose only colour is a bar, so that any theme can be read."""
        symbol, words, colour = _LOOKS[self.status]
        # `code` in hints; the rest is escaped, since messages quote the student's own lines.
        message = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(self.message)).replace("\n", "<br>")
        body = (
            f'<div role="status" style="border-left: 4px solid {colour}; padding: 0.2em 0.8em">'
            f'<span aria-hidden="true">{symbol}</span> <code>{html.escape(self.name)}</code> '
            f"<strong>{words}</strong>{': ' if message else ''}{message}</div>"
        )
        return {"text/plain": str(self), "text/html": body}


# Symbol, words and colour; the colours are told apart by colour-blind readers (Okabe and Ito 2008).
_LOOKS = {
    "open": ("○", "is open", "#56B4E9"),
    "right": ("✓", "is right", "#009E73"),
    "wrong": ("✗", "is not right yet", "#D55E00"),
}


def check(item: str | Exercise | Question, answer: Any) -> Verdict:
    """The verdict on a function (for an exercise) or on a number or letter (for a question). Prints nothing.

    Raises:
        InputError: `item` is a name that nobody declared.
    """
    return (find(item) if isinstance(item, str) else item).check(answer)


def load_all() -> dict[str, Exercise | Question]:
    """Import the module of every notebook, and return the registry."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(sys.modules[package].__path__):
        importlib.import_module(f"{package}.{module.name}")
    return registry


def find(name: str) -> Exercise | Question:
    """The exercise or question of that name; the modules that declare them are imported on the way.

    Raises:
        InputError: nobody declared that name; the message lists names that are close to it.
    """
    if name not in registry and name not in load_all():
        close = difflib.get_close_matches(str(name), registry, n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else "copy the name from the notebook's own cell"
        raise InputError(f"no exercise or question is called {name!r}: {advice}")
    return registry[name]


@dataclass(frozen=True, eq=False)
class Exercise:
    """A function to write. Declaring it registers it.

    Args:
        name: `lab.name`.
        reference: the library's own function, with its source in a file.
        inputs: draws new random arguments at each call: a tuple, a dictionary (by parameter name), or the only
            argument. Tensors, modules, arrays, numbers, strings, and tuples, lists and dictionaries of these. Where
            a tensor or a module's parameter requires a gradient, the gradient is part of the answer. Keep them small,
            and such that every known wrong answer gives something else (negative numbers, sizes that differ).
        wrong: known wrong answers, each a function with the parameters of the reference, and its hint. The first
            that agrees with the student's function in all trials is taken.
        tolerance: relative to the largest value expected.
    """

    name: str
    _: KW_ONLY
    reference: Callable
    inputs: Callable[[], Any]
    wrong: Sequence[tuple[Callable, str]] = ()
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        registry[self.name], homes[self.name] = self, sys._getframe(2).f_globals["__name__"]

    def check(self, function: Callable) -> Verdict:
        """Run a student's function beside the reference, on the same seeded inputs; global random state is kept.

        Whatever the function does, there is a verdict: what follows needs something that works under its name.
        """
        if is_open(function):
            return Verdict(self.name, "open")
        expected = [self._run(self.reference, trial) for trial in range(TRIALS)]
        if failed := next((outcome.error for outcome in expected if outcome.error), None):
            raise RuntimeError(f"{self.name}: the reference itself raises {failed}")
        try:
            return self._judge(function, expected)
        except BaseException as error:  # SystemExit, the stop button, or an answer that cannot even be compared
            return Verdict(self.name, "wrong", f"{_place(error, function)} raises {first_line(error)}.")

    def _judge(self, function: Callable, expected: list[_Outcome]) -> Verdict:
        """The verdict on a function that is not open, beside what the reference gives in each trial."""
        if problem := self._misfit(function):
            return Verdict(self.name, "wrong", problem)
        # What the student prints while searching for a mistake is wanted once, not once for each trial.
        yours = [self._run(function, 0)]
        with open(os.devnull, "w") as away, contextlib.redirect_stdout(away):
            yours += [self._run(function, trial) for trial in range(1, TRIALS)]
        differences = [_compare(one, other, self.tolerance) for one, other in zip(yours, expected, strict=True)]
        if not any(differences):
            return Verdict(self.name, "right")
        for known, hint in self.wrong:
            if all(not _compare(one, self._run(known, t), self.tolerance) for t, one in enumerate(yours)):
                return Verdict(self.name, "wrong", hint, misconception=hint)
        tried = ", ".join(f"{name}: {_in_words(value)}" for name, value in self._draw().arguments.items())
        return Verdict(self.name, "wrong", f"{next(filter(None, differences))} (Tried with {tried}.)")

    def solution(self) -> _Note:
        """The source of the reference, under a comment that says where it lives."""
        source = textwrap.dedent(inspect.getsource(self.reference)).rstrip()
        text = f"# {self.reference.__module__}.{self.reference.__qualname__}\n{source}"
        return _Note(text, f"```python\n{text}\n```")

    def _draw(self, trial: int = 0) -> inspect.BoundArguments:
        """The inputs of a trial, new ones at each call, bound to the parameters of the reference."""
        with _seeded(self.name, trial):
            drawn = self.inputs()
        signature = inspect.signature(self.reference)
        if isinstance(drawn, dict):
            return signature.bind(**drawn)
        return signature.bind(*(drawn if isinstance(drawn, tuple) else (drawn,)))

    def _run(self, function: Callable, trial: int) -> _Outcome:
        """Call the function with inputs of its own, and keep all that can be seen from outside."""
        untouched, bound = self._draw(trial).arguments, self._draw(trial)
        with _seeded(self.name, trial, "call"), torch.enable_grad():
            try:
                answer = function(*bound.args, **bound.kwargs)
                gradients = _gradients(answer, bound.arguments)
            except Exception as error:
                return _Outcome(error=first_line(error), place=_place(error, function))
        changed = {name: value for name, value in bound.arguments.items() if _difference(value, untouched[name], 0)}
        return _Outcome(answer, gradients, changed)

    def _misfit(self, function: Callable) -> str | None:
        """One line if the function cannot be called with the exercise's arguments."""
        bound = self._draw()
        try:
            inspect.signature(function).bind(*bound.args, **bound.kwargs)
        except ValueError:  # a function written in C, which has no signature
            return None
        except TypeError:
            asked = f"{_count(len(bound.arguments), 'argument')}, ({', '.join(bound.arguments)})"
            taken = ", ".join(inspect.signature(function).parameters) or "none"
            return f"It is called with {asked}, but its own parameters are: {taken}."
        return None


@dataclass(frozen=True, eq=False)
class Question:
    """A question with a number, or one of several choices, for an answer. Declaring it registers it.

    Args:
        name: `lab.name`.
        text: the question.
        answer: a number, or the letter of a choice.
        unit: of the number, in words.
        tolerance: how far the number may be from the answer, in that unit.
        explanation: shown with the tick.
        wrong: hints for answers that are known to be given, by number or letter.
        choices: what the letters a, b, c... stand for.
    """

    name: str
    _: KW_ONLY
    text: str
    answer: float | str
    unit: str = ""
    tolerance: float = 0
    explanation: str = ""
    wrong: Mapping[float | str, str] = dataclasses.field(default_factory=dict)
    choices: Sequence[str] | None = None

    def __post_init__(self) -> None:
        registry[self.name], homes[self.name] = self, sys._getframe(2).f_globals["__name__"]

    def check(self, answer: Any) -> Verdict:
        """Compare a number or a letter with the answer, then with the known wrong ones."""
        if answer is ...:
            return Verdict(self.name, "open", self._asked())
        given = self._read(answer)
        if given is None:
            given = " ".join(reprlib.repr(answer).split())
            return Verdict(self.name, "wrong", f"{self._how()}: {given} is something else.")
        if self._same(given, self.answer):
            return Verdict(self.name, "right", self._in_words())
        hint = next((hint for known, hint in self.wrong.items() if self._same(given, known)), None)
        size = "" if self.choices else f"{given:g} is too {'small' if given < self.answer else 'large'}."
        return Verdict(self.name, "wrong", hint or size or "It is another of the choices.", misconception=hint)

    def solution(self) -> _Note:
        """The answer with its explanation."""
        return _Note(f"{self.name}: {self._in_words()}", f"`{self.name}`: {self._in_words()}")

    @property
    def _letters(self) -> str:
        return string.ascii_lowercase[: len(self.choices or ())]

    def _asked(self) -> str:
        """The question, its choices, and how to answer."""
        choices = [f"{letter}) {choice}" for letter, choice in zip(self._letters, self.choices or (), strict=True)]
        return "\n".join([self.text, *choices, f"{self._how()}, in place of the three dots."])

    def _how(self) -> str:
        if self.choices:
            return f"Answer with one letter, in quotes ({', '.join(self._letters)})"
        return f"Answer with a number{f' ({self.unit})' if self.unit else ''}"

    def _read(self, answer: Any) -> float | str | None:
        """A letter in lower case or a number that is finite (or too large for a float); None for anything else."""
        try:
            if self.choices:
                letter = str(answer).strip(" .()").lower()
                return letter if len(letter) == 1 and letter in self._letters else None
            number = float(answer)
        except OverflowError:
            return math.inf if answer > 0 else -math.inf
        except Exception:  # of whatever object was given
            return None
        return number if math.isfinite(number) else None

    def _same(self, given: float | str, known: float | str) -> bool:
        if self.choices:
            return given == known
        return math.isclose(given, known, rel_tol=1e-9, abs_tol=self.tolerance)

    def _in_words(self) -> str:
        if self.choices:
            answer = f"{self.answer}) {self.choices[self._letters.index(self.answer)]}".rstrip(".")
        else:
            answer = f"{self.answer:g} {self.unit}".rstrip()
        return f"{answer}. {self.explanation}".rstrip()


def is_open(function: Callable) -> bool:
    """Whether a function's body is nothing but a docstring, `...` or `pass`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and _steps(code) == _steps((lambda: None).__code__)


def _steps(code: Any) -> list[tuple[str, Any]]:
    """The instructions that do something, so that Python versions and line numbers make no difference."""
    idle = ("NOP", "RESUME", "CACHE")
    return [(step.opname, step.argval) for step in dis.get_instructions(code) if step.opname not in idle]


# How one call is compared with another


class _Outcome(NamedTuple):
    """All that can be seen of one call from outside."""

    answer: Any = None
    gradients: Mapping[str, torch.Tensor] = {}  # of the answer, by input
    changed: Mapping[str, Any] = {}  # inputs that are no longer what they were, by name
    error: str | None = None
    place: str = "It"  # the line that raised it; two functions may raise the same error in other lines


def _compare(yours: _Outcome, expected: _Outcome, tolerance: float) -> str | None:
    """The first difference that matters, as a sentence, or None."""
    if yours.error or expected.error:
        return None if yours.error == expected.error else f"{yours.place} raises {yours.error}."
    if yours.answer is None and expected.answer is not None:
        return "It returns None: is a `return` missing?"
    yours = yours._replace(answer=_numbers(yours.answer, expected.answer))
    if found := _difference(yours.answer, expected.answer, tolerance):
        return f"{found}."
    for (path, mine), (_, theirs) in zip(_tensors(yours.answer), _tensors(expected.answer), strict=True):
        if theirs.requires_grad and not mine.requires_grad:
            return f"Your answer{path} is right, but carries no gradient: is a `detach` or `torch.no_grad` too many?"
        if mine.requires_grad and not theirs.requires_grad:
            return f"Your answer{path} is right, but carries a gradient: is a `detach` or `torch.no_grad` missing?"
    for path, gradient in expected.gradients.items():
        where = f"Your answer is right, but its gradient with respect to {path}"
        if found := _difference(yours.gradients.get(path, torch.zeros_like(gradient)), gradient, tolerance, where):
            return f"{found}."
    for name in {**yours.changed, **expected.changed}:
        if name not in expected.changed:
            return f"It changes its input {name} in place: work on a copy, `{name}.clone()` or `{name}.copy()`."
        if name not in yours.changed:
            return f"It leaves its input {name} as it was, but should change it."
        if found := _difference(yours.changed[name], expected.changed[name], tolerance, f"Afterwards, {name}"):
            return f"{found}."
    return None


_NUMBER = (int, float, np.number)


def _numbers(yours: Any, expected: Any) -> Any:
    """The answer, with a tensor or array of no axes as the number that it holds, where a number is asked for."""
    if isinstance(yours, tuple | list) and isinstance(expected, tuple | list) and len(yours) == len(expected):
        return list(map(_numbers, yours, expected))
    single = (
        isinstance(yours, torch.Tensor | np.ndarray) and not yours.ndim and not getattr(yours, "requires_grad", False)
    )
    return yours.item() if single and isinstance(expected, _NUMBER) else yours


_KINDS = [
    (torch.Tensor, "a tensor"),
    (np.ndarray, "an array"),
    ((bool, np.bool_), "True or False"),
    (_NUMBER, "a number"),
    (str, "a string"),
    ((tuple, list), "a tuple or list"),
    (dict, "a dictionary"),
    (type(None), "None"),
]


def _kind(value: Any) -> str:
    return next((words for types, words in _KINDS if isinstance(value, types)), f"of type {type(value).__name__}")


def _difference(yours: Any, expected: Any, tolerance: float, where: str = "Your answer") -> str | None:
    """The first difference in type, length, shape, kind of number, range or value; None where there is none."""
    if _kind(yours) != _kind(expected):
        return f"{where} is {_kind(yours)}, expected {_kind(expected)}"
    yours, expected = _plain(yours), _plain(expected)
    if isinstance(expected, (torch.Tensor, np.ndarray, np.bool_, *_NUMBER)):
        return _numeric_difference(yours, expected, tolerance, where)
    if isinstance(expected, (tuple, list)):
        if len(yours) != len(expected):
            return f"{where} has {_count(len(yours), 'item')}, expected {len(expected)}"
        yours, expected = dict(enumerate(yours)), dict(enumerate(expected))
    if isinstance(expected, dict):
        if yours.keys() != expected.keys():
            return f"{where} has the keys {list(yours)}, expected {list(expected)}"
        parts = (_difference(yours[key], expected[key], tolerance, f"{where}[{key!r}]") for key in expected)
        return next(filter(None, parts), None)
    # Things that only know whether they are the same object (an optimizer, a function) cannot be compared.
    if type(expected).__eq__ is object.__eq__ or yours == expected:
        return None
    return f"{where} is {yours!r}, expected {expected!r}"


def _plain(value: Any) -> Any:
    """A module or a dataclass as the dictionary of what it holds; anything else as it is."""
    if isinstance(value, torch.nn.Module):
        return {**value.state_dict(), "training": {name: part.training for name, part in value.named_modules()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value


def _numeric_difference(yours: Any, expected: Any, tolerance: float, where: str) -> str | None:
    """As `_difference`, for two tensors, two arrays or two numbers; float32 and float64 are one kind."""
    mine, theirs = _tensor(yours), _tensor(expected)
    if mine.shape != theirs.shape:
        return f"{where} has shape {tuple(mine.shape)}, expected {tuple(theirs.shape)}"
    whole_is_fine = isinstance(yours, int) and isinstance(expected, float)  # 0 for 0.0
    if _number_kind(mine) != _number_kind(theirs) and not whole_is_fine:
        return f"{where} holds {_number_kind(mine)}, expected {_number_kind(theirs)}"
    return _value_difference(mine, theirs, tolerance, where)


def _value_difference(mine: torch.Tensor, theirs: torch.Tensor, tolerance: float, where: str) -> str | None:
    """The difference in values of two tensors of one shape: nan, the range if that is off, else the first element."""
    boolean, wide = theirs.dtype == torch.bool, torch.complex128 if theirs.is_complex() else torch.float64
    mine, theirs = mine.to(wide), theirs.to(wide)
    finite = theirs[theirs.isfinite()].abs()
    # Relative to the largest value, so that small gradients are compared as strictly as large intensities; the floor
    # leaves room for float32 noise about an exact zero.
    room = tolerance * max(finite.max().item() if finite.numel() else 0.0, 0.01)
    off = ~torch.isclose(mine, theirs, rtol=tolerance, atol=room, equal_nan=True)
    if not off.any():
        return None
    if mine.isnan().any() and not theirs.isnan().any():
        return f"{where} contains nan, expected numbers only"
    if mine.numel() > 1 and not boolean and not theirs.is_complex():
        (low, high), (lowest, highest) = ((x.min().item(), x.max().item()) for x in (mine, theirs))
        if max(abs(low - lowest), abs(high - highest)) > 0.1 * (highest - lowest):
            return f"{where} ranges from {low:.4g} to {high:.4g}, expected {lowest:.4g} to {highest:.4g}"
    first = tuple(off.nonzero()[0].tolist())
    one, other = mine[first].item(), theirs[first].item()
    if boolean:
        one, other = bool(one), bool(other)
    else:
        digits = next((d for d in (4, 8) if f"{one:.{d}g}" != f"{other:.{d}g}"), 17)
        one, other = f"{one:.{digits}g}", f"{other:.{digits}g}"
    if mine.numel() == 1:
        return f"{where} is {one}, expected {other}"
    share = f"{int(off.sum())} of {mine.numel()} values differ"
    return f"{where} is {one} at {list(first)}, expected {other} ({share})"


def _tensor(value: Any) -> torch.Tensor:
    """A tensor, array or number as a tensor on the CPU that no gradient flows through."""
    return value.detach().cpu() if isinstance(value, torch.Tensor) else torch.as_tensor(np.array(value))


def _number_kind(values: torch.Tensor) -> str:
    if values.dtype == torch.bool:
        return "True or False"
    if values.is_complex():
        return "complex numbers"
    return "decimal numbers" if values.is_floating_point() else "whole numbers"


def _gradients(answer: Any, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The gradient of a weighted sum of all that was returned, for each input that requires one.

    The weights rise from 1 to 2, so that a gradient that goes to the wrong element shows.
    """
    leaves = {path: leaf for name in inputs for path, leaf in _tensors(inputs[name], name) if leaf.requires_grad}
    outputs = [tensor for _, tensor in _tensors(answer) if tensor.requires_grad]
    if not leaves or not outputs:
        return {}
    weights = [torch.linspace(1, 2, out.numel(), dtype=out.dtype, device=out.device).view(out.shape) for out in outputs]
    total = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), materialize_grads=True), strict=True))


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested tuples, lists, dictionaries, dataclasses and modules (parameters), with their paths."""
    value = value if isinstance(value, torch.nn.Module) else _plain(value)
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, torch.nn.Module):
        yield from ((f"{path}.{name}", parameter) for name, parameter in value.named_parameters())
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, f"{path}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        yield from _tensors(dict(enumerate(value)), path)


@contextlib.contextmanager
def _seeded(*parts: int | str) -> Iterator[None]:
    """Random numbers that depend on `parts` alone, and everybody's random state as it was afterwards.

    Only the CPU is seeded: `torch.manual_seed` would also change what a GPU draws in later cells.
    """
    seed, python_state, numpy_state = derive_seed(*parts), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.default_generator.manual_seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


# Words


def first_line(error: BaseException) -> str:
    """Type and message of an error, on one line of bearable length."""
    lines = str(error).strip().splitlines()
    return textwrap.shorten(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__, 240)


def _place(error: BaseException, function: Callable) -> str:
    """The last line of the student's own file or cell that the error passed through."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    if not frames:
        return "It"
    return f"Line {frames[-1].lineno}" + (f", `{frames[-1].line}`," if frames[-1].line else "")


def _in_words(value: Any) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"shape {tuple(value.shape)}"
    if isinstance(value, (str, bool, type(None), *_NUMBER)):
        return str(value)
    if isinstance(value, (tuple, list, dict)):
        return f"{_kind(value)} of {len(value)}"
    return getattr(value, "__name__", type(value).__name__)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


# Output


@dataclass(frozen=True)
class _Note:
    """Text with its Markdown: a notebook highlights a block of code in the colours of its own theme."""

    text: str
    markdown: str

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/markdown": self.markdown}


def _tell(verdict: Verdict, aftermath: str = "") -> None:
    """Keep a verdict for the grader, and show it."""
    verdicts[verdict.name] = verdict
    _show(dataclasses.replace(verdict, message=f"{verdict.message} {aftermath}".strip()))


def _show(thing: Verdict | _Note) -> None:
    """Display in a notebook, print anywhere else."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        from IPython.display import display

        display(thing)
    else:
        print(thing)
