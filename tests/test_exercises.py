"""The exercise mechanism on toy exercises, then every exercise and question that the labs declare."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
import torch

from mrctlib.course.exercises import core as exercises
from mrctlib.course.exercises.core import Exercise, Question, Verdict, check, exercise, find, is_open, question, reveal
from mrctlib.runtime import InputError


def mean_difference(real, fake):
    """The toy reference."""
    return (real - fake).abs().mean()


def squared(real, fake):
    return ((real - fake) ** 2).mean()


def detached(real, fake):
    return (real - fake.detach()).abs().mean()


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch):
    """Toys stay out of the real registry."""
    monkeypatch.setattr(exercises, "registry", dict(exercises.registry))
    monkeypatch.setattr(exercises, "verdicts", {})


@pytest.fixture
def toy() -> Exercise:
    return Exercise(
        "toy.mean",
        reference=mean_difference,
        inputs=lambda: (torch.randn(2, 3), torch.randn(2, 3, requires_grad=True)),
        wrong=[(squared, "This is the mean squared difference."), (detached, "You detached `fake`.")],
    )


def of(reference, inputs, **options) -> Exercise:
    """A toy exercise in one line."""
    return Exercise("toy.other", reference=reference, inputs=inputs, **options)


# Left open


def stub_dots(a, b): ...


def stub_pass(a, b):
    pass


def stub_docstring(a, b):
    """Mean."""


def stub_both(a, b=2, *, c=None) -> int:
    """Mean."""
    # a comment
    ...
    pass


def not_open_assigns(a, b):
    c = a  # noqa: F841


def not_open_raises(a, b):
    """Mean."""
    raise NotImplementedError


def not_open_yields(a, b):
    yield


@pytest.mark.parametrize("stub", [stub_dots, stub_pass, stub_docstring, stub_both, torch.no_grad()(stub_both)])
def test_a_body_without_code_is_open(toy, stub):
    assert is_open(stub)
    assert check(toy, stub) == Verdict("toy.mean", "open")


@pytest.mark.parametrize("function", [not_open_assigns, not_open_raises, not_open_yields, lambda a: a, torch.nn.ReLU])
def test_a_body_with_code_is_not_open(function):
    assert not is_open(function)


def test_a_missing_return_has_its_own_hint(toy):
    verdict = check(toy, not_open_assigns)
    assert verdict.status == "wrong" and verdict.message.startswith("It returns None: is a `return` missing?")


# Right and wrong


def test_right_in_other_words(toy):
    assert check(toy, lambda a, b: torch.nn.functional.l1_loss(b, a)).status == "right"


@pytest.mark.parametrize("function, hint", [(squared, "This is the mean squared difference."), (detached, "You det")])
def test_a_known_wrong_answer_gets_its_hint(toy, function, hint):
    verdict = check(toy, function)
    assert verdict.status == "wrong" and verdict.message == verdict.misconception and verdict.message.startswith(hint)


def test_a_known_wrong_answer_may_raise():
    transposed = of(
        lambda a, b: a @ b.T, lambda: (torch.randn(2, 3), torch.randn(2, 3)), wrong=[(lambda a, b: a @ b, "Turn b.")]
    )
    assert check(transposed, lambda x, y: torch.matmul(x, y)).misconception == "Turn b."


x = torch.tensor([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    "expected, given, said",
    [
        (x, 0.5, "Your answer is a number, expected a tensor"),
        (0.5, torch.tensor([0.5]), "Your answer is a tensor, expected a number"),
        (0.5, "0.5", "Your answer is a string, expected a number"),
        (x, x.numpy(), "Your answer is an array, expected a tensor"),
        (x, x[:, None], "Your answer has shape (3, 1), expected (3,)"),
        (x, x.int(), "Your answer holds whole numbers, expected decimal numbers"),
        (x > 0, (x > 0).float(), "Your answer holds decimal numbers, expected True or False"),
        (3, 3.0, "Your answer holds decimal numbers, expected whole numbers"),
        (x, 2 * x - 1, "Your answer ranges from -1 to 1, expected 0 to 1"),
        (x, torch.tensor([0.0, 0.25, 1.0]), "Your answer is 0.25 at [1], expected 0.5 (1 of 3 values differ)"),
        (x, torch.tensor([0.0, float("nan"), 1.0]), "Your answer contains nan"),
        (x > 0, x > 0.6, "Your answer is False at [1], expected True"),
        (torch.tensor(2.0), torch.tensor(2.001), "Your answer is 2.001, expected 2"),
        (1.00001, 1.00004, "Your answer is 1.00004, expected 1.00001"),
        ("T2", "T1", "Your answer is 'T1', expected 'T2'"),
        (True, False, "Your answer is False, expected True"),
        (True, 1, "Your answer is a number, expected True or False"),
        ((x, 1), x, "Your answer is a tensor, expected a tuple or list"),
        ((x, 1), (x, 1, 2), "Your answer has 3 items, expected 2"),
        ((x, {"loss": 1.0}), (x, {"loss": 2.0}), "Your answer[1]['loss'] is 2, expected 1"),
        ({"a": 1, "b": 2}, {"a": 1}, "Your answer has the keys ['a'], expected ['a', 'b']"),
        (torch.tensor([1j]), torch.tensor([2j]), "Your answer is 0+2j, expected 0+1j"),
    ],
)
def test_the_first_difference_is_said_with_numbers(expected, given, said):
    verdict = check(of(lambda a: expected, lambda: 1), lambda a: given)
    assert verdict.status == "wrong" and verdict.misconception is None
    assert verdict.message.startswith(said) and verdict.message.endswith("(Tried with a: 1.)")


@pytest.mark.parametrize(
    "expected, given",
    [
        (x, x.double()),
        (x, x + 1e-7),
        (1.0, 1),
        (np.float64(0.5), 0.5),
        (0.5, torch.tensor(0.5)),
        (0.5, np.float32(0.5)),
        (3, torch.tensor(3)),
        (x.numpy()[::-1], x.numpy()[::-1].copy()),
        ((x, 1), [x, 1]),
        (torch.tensor([-torch.inf, torch.nan]), torch.tensor([-torch.inf, torch.nan])),
        (torch.empty(0), torch.empty(0)),
        (None, None),
    ],
)
def test_what_is_as_good_as_equal(expected, given):
    assert check(of(lambda a: expected, lambda: 1), lambda a: given if a else 0).status == "right"


def test_the_tolerance_is_relative():
    hounsfield = of(lambda a: a * 1250, lambda: torch.randn(8), tolerance=0.01)
    assert check(hounsfield, lambda a: a * 1250 + 1).status == "right"
    assert check(hounsfield, lambda a: a * 1300).status == "wrong"
    tiny = of(lambda a: a * 1e-6, lambda: torch.randn(8))
    assert check(tiny, lambda a: torch.zeros(8)).status == "wrong"


def test_an_error_is_one_line_with_the_students_own_line(toy):
    def raises(real, fake):
        broken = real @ fake  # the line to be shown
        return broken

    message = check(toy, raises).message
    assert message.startswith("Line ") and "\n" not in message
    assert ", `broken = real @ fake  # the line to be shown`, raises RuntimeError: " in message
    assert message.endswith("(Tried with real: shape (2, 3), fake: shape (2, 3).)")


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, Stopped])
def test_the_name_is_bound_whatever_the_answer_raises(toy, kind, capsys):
    calls = []

    def stops(real, fake):
        calls.append(kind)
        raise kind

    assert exercise("toy.mean")(stops) is mean_difference
    assert f"`raise kind`, raises {kind.__name__}. Later cells use the course's own version" in capsys.readouterr().out
    assert len(calls) == 1, "the stop button is pressed once"


@pytest.mark.parametrize("given", [np.array(["a", "b", "c"]), np.array([1, None, "c"]), x.to_sparse(), x.to("meta")])
def test_an_answer_that_cannot_be_compared_is_wrong_all_the_same(given):
    verdict = check(of(lambda a: x if isinstance(given, torch.Tensor) else x.numpy(), lambda: 1), lambda a: given)
    assert verdict.status == "wrong" and " raises " in verdict.message and "\n" not in verdict.message


def test_functions_without_a_signature_are_called():
    assert check(of(lambda a, b: a + b, lambda: (torch.randn(3), torch.randn(3))), torch.add).status == "right"
    assert check(of(lambda a, b: a + b, lambda: (torch.randn(3), torch.randn(3))), torch.sub).status == "wrong"


def test_what_is_no_function_is_wrong_in_one_line(toy):
    assert check(toy, 3).message == "It raises TypeError: 3 is not a callable object."


def test_a_wrong_signature_is_one_line(toy):
    message = check(toy, lambda real: real).message
    assert message == "It is called with 2 arguments, (real, fake), but its own parameters are: real."
    assert check(toy, lambda: 1).message.endswith("are: none.")
    assert check(toy, lambda real, fake, weight=1: mean_difference(real, fake) * weight).status == "right"


def test_arguments_by_name_reach_keyword_only_parameters():
    def scaled(a, *, by):
        return a * by

    named = of(scaled, lambda: {"a": torch.randn(3), "by": 2.0})
    assert check(named, lambda a, *, by: by * a).status == "right"
    assert check(named, lambda a, b: b * a).status == "wrong"


# Side effects


def test_changes_in_place_are_said_and_harmless(toy):
    def in_place(real, fake):
        real -= fake.detach()
        return mean_difference(real + fake.detach(), fake)

    assert check(toy, in_place).message.startswith("It changes its input real in place: work on a copy")
    assert check(toy, mean_difference).status == "right"


def test_a_module_left_in_evaluation_mode_is_a_change():
    model = of(lambda net, a: net(a), lambda: (torch.nn.Linear(3, 1), torch.randn(2, 3)))
    assert check(model, lambda net, a: net.eval()(a)).message.startswith("It changes its input net in place")


def test_a_step_must_change_the_weights_alike():
    def step(net, a):
        loss = net(a).square().mean()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        loss.backward()
        optimizer.step()
        return loss.item()

    training = of(step, lambda: (torch.nn.Linear(3, 1), torch.randn(2, 3)))
    assert check(training, step).status == "right"
    assert "leaves its input net as it was" in check(training, lambda net, a: net(a).square().mean().item()).message

    def twice_as_far(net, a):
        before = {name: weight.clone() for name, weight in net.state_dict().items()}
        loss = step(net, a)
        net.load_state_dict({name: 2 * weight - before[name] for name, weight in net.state_dict().items()})
        return loss

    assert check(training, twice_as_far).message.startswith("Afterwards, net['weight'] ")


def test_the_global_random_state_is_kept(toy):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    def draws(real, fake):
        random.random(), np.random.rand(), torch.manual_seed(7)
        raise ValueError

    before = state()
    for function in (mean_difference, squared, draws):
        check(toy, function)
    assert state() == before


def test_functions_that_draw_are_given_the_same_numbers():
    noisy = of(lambda a: a + torch.randn_like(a), lambda: torch.randn(4))
    assert check(noisy, lambda a: torch.randn(4) + a).status == "right"
    assert check(noisy, lambda a: torch.rand(4) + a).status == "wrong"


def test_what_the_student_prints_appears_once(toy, capsys):
    def prints(real, fake):
        print("shape", real.shape)
        return mean_difference(real, fake)

    check(toy, prints)
    assert capsys.readouterr().out.count("shape") == 1


# Gradients


def test_a_detached_answer_is_a_difference(toy):
    doubled = of(lambda a: {"loss": 2 * a}, lambda: torch.randn(4, requires_grad=True))
    message = check(doubled, lambda a: {"loss": 2 * a.detach()}).message
    assert message.startswith("Your answer['loss'] is right, but carries no gradient: is a `detach`")


def test_a_gradient_too_many_is_a_difference():
    measure = of(lambda a: a.detach().mean(), lambda: torch.randn(4, requires_grad=True))
    assert "carries a gradient" in check(measure, lambda a: a.mean()).message


def test_a_gradient_that_goes_elsewhere_is_a_difference():
    both = of(lambda a, b: a * b, lambda: (torch.randn(4, requires_grad=True), torch.randn(4, requires_grad=True)))
    message = check(both, lambda a, b: a.detach() * b).message
    assert message.startswith("Your answer is right, but its gradient with respect to a ranges from 0 to 0, expected")


def test_gradients_reach_the_parameters_of_modules():
    def detached_generator(g, c, batch):
        return c(g(batch["x"][0]).detach()).mean()

    def detached_bias(g, c, batch):
        return (g(batch["x"][0]) @ c.weight.T + c.bias.detach()).mean()

    game = of(
        lambda generator, critic, batch: critic(generator(batch["x"][0])).mean(),
        lambda: (torch.nn.Linear(3, 3), torch.nn.Linear(3, 1), {"x": [torch.randn(2, 3)]}),
        wrong=[(detached_generator, "You detached the generator.")],
    )
    assert check(game, lambda g, c, batch: detached_generator(g, c, batch)).misconception
    assert "its gradient with respect to critic.bias is 0, expected" in check(game, detached_bias).message


def test_a_reference_that_fails_is_the_authors_mistake():
    with pytest.raises(RuntimeError, match="toy.other: the reference itself raises ZeroDivisionError"):
        check(of(lambda a: 1 / 0, lambda: 1), lambda a: a)


# What a student sees


def test_exercise_binds_something_that_works_and_says_so(toy, capsys):
    assert exercise("toy.mean")(stub_both) is mean_difference
    assert capsys.readouterr().out == (
        '○ toy.mean is open: later cells use the course\'s own version. Stuck? reveal("toy.mean")\n'
    )
    assert exercise("toy.mean")(squared) is mean_difference
    assert capsys.readouterr().out == (
        "✗ toy.mean is not right yet: This is the mean squared difference. Later cells use the course's own version.\n"
    )

    def mine(real, fake):
        return mean_difference(real, fake)

    assert exercise("toy.mean")(mine) is mine
    assert capsys.readouterr().out == "✓ toy.mean is right: later cells use your function.\n"
    assert exercises.verdicts["toy.mean"].status == "right"


def test_html_says_the_same_words_and_escapes(toy):
    bundle = check(toy, lambda real, fake: "<b>")._repr_mimebundle_()
    assert bundle["text/plain"].startswith("✗ toy.mean is not right yet: Your answer is a string")
    assert "<strong>is not right yet</strong>: Your answer is a string" in bundle["text/html"]
    html = Verdict("toy.mean", "wrong", "`a < b` is\n<i>")._repr_mimebundle_()["text/html"]
    assert "<code>a &lt; b</code> is<br>&lt;i&gt;" in html


def test_a_notebook_is_given_a_display(toy, monkeypatch, capsys):
    import IPython
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": True})())
    monkeypatch.setattr(IPython.display, "display", shown.append)
    exercise("toy.mean")(mean_difference)
    reveal("toy.mean")
    assert shown[0]._repr_mimebundle_().keys() == {"text/plain", "text/html"}
    assert shown[1]._repr_mimebundle_()["text/markdown"].startswith("```python\n# ")
    assert capsys.readouterr().out == ""


def test_reveal_shows_the_source(toy, capsys):
    reveal("toy.mean")
    shown = capsys.readouterr().out
    assert shown.endswith(
        'mean_difference\ndef mean_difference(real, fake):\n    """The toy reference."""\n'
        "    return (real - fake).abs().mean()\n"
    )


# Questions


@pytest.fixture
def number() -> Question:
    return Question(
        "toy.field",
        text="How wide is it?",
        answer=70,
        unit="pixels",
        tolerance=0.5,
        explanation="Five layers.",
        wrong={34: "One layer is missing."},
    )


@pytest.fixture
def choice() -> Question:
    return Question(
        "toy.choice", text="Which one?", answer="b", choices=["MR", "CT", "PET"], wrong={"a": "That has no HU."}
    )


def test_an_open_question_is_asked(number, choice, capsys):
    question("toy.field")
    question("toy.choice", ...)
    assert capsys.readouterr().out.splitlines() == [
        "○ toy.field is open: How wide is it?",
        "Answer with a number (pixels), in place of the three dots.",
        "○ toy.choice is open: Which one?",
        "a) MR",
        "b) CT",
        "c) PET",
        "Answer with one letter, in quotes (a, b, c), in place of the three dots.",
    ]


@pytest.mark.parametrize("answer", [70, 70.4, "70", torch.tensor(70), np.float32(69.6)])
def test_a_right_number_is_explained(number, answer):
    assert check("toy.field", answer) == Verdict("toy.field", "right", "70 pixels. Five layers.")


@pytest.mark.parametrize("answer", ["b", "B", "b)", "(b)", " b. "])
def test_a_right_choice_in_any_case(choice, answer):
    assert check("toy.choice", answer) == Verdict("toy.choice", "right", "b) CT.")


@pytest.mark.parametrize(
    "name, answer, said",
    [
        ("toy.field", 34, "One layer is missing."),
        ("toy.field", 60, "60 is too small."),
        ("toy.field", 1e3, "1000 is too large."),
        ("toy.field", 10**400, "inf is too large."),
        ("toy.field", -(10**400), "-inf is too small."),
        ("toy.field", torch.zeros(2), "Answer with a number (pixels): tensor([0., 0.]) is something else."),
        ("toy.field", 3 + 4j, "Answer with a number (pixels): (3+4j) is something else."),
        ("toy.field", "wide", "Answer with a number (pixels): 'wide' is something else."),
        ("toy.field", float("nan"), "Answer with a number (pixels): nan is something else."),
        ("toy.field", None, "Answer with a number (pixels): None is something else."),
        ("toy.choice", "A", "That has no HU."),
        ("toy.choice", "c", "It is another of the choices."),
        ("toy.choice", "d", "Answer with one letter, in quotes (a, b, c): 'd' is something else."),
        ("toy.choice", "", "Answer with one letter, in quotes (a, b, c): '' is something else."),
        ("toy.choice", 2, "Answer with one letter, in quotes (a, b, c): 2 is something else."),
    ],
)
def test_a_wrong_answer_gets_its_hint_or_a_direction(number, choice, name, answer, said):
    verdict = check(name, answer)
    assert (verdict.status, verdict.message) == ("wrong", said)
    assert (verdict.misconception is not None) == (said in find(name).wrong.values())


def test_what_breaks_when_it_is_read_is_something_else(number, choice):
    class Broken:
        def __float__(self):
            raise KeyError("no such number")

        __str__ = __repr__ = __float__

    for name in ("toy.field", "toy.choice"):
        message = check(name, Broken()).message
        assert message.endswith("is something else.") and "\n" not in message
    assert len(check("toy.choice", "b" * 10_000).message) < 120
    assert check("toy.field", 10**5000).message == "inf is too large.", "Python cannot even write it"


def test_reveal_of_a_question(number, choice, capsys):
    reveal("toy.field")
    reveal("toy.choice")
    assert capsys.readouterr().out == "toy.field: 70 pixels. Five layers.\ntoy.choice: b) CT.\n"
    assert not exercises.verdicts


# Names


def test_each_item_knows_the_module_that_declares_it(toy, number):
    assert exercises.homes["toy.mean"] == exercises.homes["toy.field"] == __name__
    assert exercises.homes["readers.fooled"] == exercises.homes["limits.private"] == "mrctlib.course.exercises.lecture8"


def test_an_unknown_name_lists_near_ones(toy, number):
    with pytest.raises(InputError, match=r"no exercise or question is called 'toy.maen': did you mean toy.mean\?"):
        exercise("toy.maen")
    with pytest.raises(InputError, match="no exercise or question is called ''"):
        reveal("")
    with pytest.raises(InputError, match="toy.field is a question"):
        exercise("toy.field")
    with pytest.raises(InputError, match="toy.mean is an exercise"):
        question("toy.mean", 3)
    with pytest.raises(InputError, match="write @exercise"):
        exercise(stub_dots)


# Every exercise and question of every lab

declared = exercises.load_all().values()
functions = [item for item in declared if isinstance(item, Exercise)]
questions = [item for item in declared if isinstance(item, Question)]


def named(items):
    return pytest.mark.parametrize("item", items, ids=lambda item: item.name)


@named([*functions, *questions])
def test_declared_in_its_labs_own_module_with_whole_sentences(item):
    assert item.name.count(".") == 1
    hints = [hint for _, hint in item.wrong] if isinstance(item, Exercise) else list(item.wrong.values())
    assert all(hint.rstrip("`)")[-1] in ".?!" for hint in hints), "more words follow a hint: end it with a stop"
    assert len(set(hints)) == len(hints)
    assert item.solution().text


@named(functions)
def test_reference_is_ticked_and_stub_is_open(item):
    # Through a wrapper, so that nothing can depend on the function being the very same object.
    assert check(item, lambda *args, **kwargs: item.reference(*args, **kwargs)) == Verdict(item.name, "right")
    assert check(item, stub_both).status == "open"


@named(functions)
def test_each_known_wrong_answer_gets_exactly_its_own_hint(item):
    for function, hint in item.wrong:
        verdict = check(item, function)
        assert (verdict.status, verdict.misconception) == ("wrong", hint)


@named(questions)
def test_each_answer_is_ticked_and_each_known_wrong_one_gets_its_hint(item):
    assert check(item, ...).status == "open"
    assert check(item, item.answer).status == "right"
    for answer, hint in item.wrong.items():
        assert check(item, answer) == Verdict(item.name, "wrong", hint, misconception=hint)
