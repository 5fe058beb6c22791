"""Agreement against scikit-learn, and the visual Turing test played without a browser."""

import base64
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from mrctlib.course.exercises.core import check
from mrctlib.course.exercises.lecture8 import cohens_kappa
from mrctlib.course.widgets import VisualTuringTest
from mrctlib.runtime import InputError


@pytest.mark.parametrize("seed", range(5))
def test_kappa_agrees_with_scikit_learn(seed):
    numbers = np.random.default_rng(seed)
    a = numbers.integers(0, 2, 30)
    b = np.where(numbers.random(30) < 0.5, a, numbers.integers(0, 2, 30))
    assert cohens_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))


def test_kappa_by_hand():
    # Cohen's form of a 2 x 2 table: both yes 20, only the first 5, only the second 10, both no 15: p = 0.7, e = 0.5.
    a, b = np.repeat([1, 0], 25), np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert cohens_kappa(a, a) == 1
    assert cohens_kappa(np.array([0, 1]), np.array([1, 0])) == -1


def test_another_right_way_to_kappa_is_ticked():
    assert check("readers.cohens_kappa", cohen_kappa_score).status == "right"


# The test itself


@pytest.fixture
def test():
    numbers = torch.Generator().manual_seed(0)
    return VisualTuringTest(torch.rand(3, 1, 8, 8, generator=numbers) * 2 - 1, torch.tensor([True, False, True]))


def test_a_reader_goes_through_all_pictures_and_sees_the_result(test):
    seen = [test.image.value]
    for word in ("real", "generated", "generated"):
        assert not test.buttons["real"].disabled
        test.buttons[word].click()
        seen.append(test.image.value)
    assert len(set(seen)) == 4
    assert test.answers == {"A": ["real", "generated", "generated"], "B": []}
    assert test.scores() == {"A": (2, 3)} and test.kappa() is None
    assert all(button.disabled for button in test.buttons.values())
    interval = binomtest(2, 3).proportion_ci(method="wilson")
    assert tuple(test.result().axes[0].lines[0].get_xdata()) == (interval.low, interval.high)


def test_each_reader_has_their_own_place(test):
    first = test.image.value
    test.answer("A", "real")
    assert test.image.value != first
    test.controls["reader"].value = "B"
    assert test.image.value == first
    test.buttons["generated"].click()
    assert test.answers == {"A": ["real"], "B": ["generated"]}


def test_kappa_is_taken_on_the_pictures_both_have_rated(test):
    for word in ("real", "generated", "real"):
        test.answer("A", word)
    for word in ("real", "generated"):
        test.answer("B", word)
    assert test.kappa() == 1 and test.scores() == {"A": (3, 3), "B": (2, 2)}
    test.answer("B", "generated")
    assert test.kappa() == pytest.approx(0.4)
    assert "kappa 0.40" in test.result().axes[0].get_title()


@pytest.mark.filterwarnings("error")
def test_one_word_throughout_is_no_agreement_beyond_chance(test):
    for reader in "AB":
        test.answer(reader, "real")
    assert math.isnan(test.kappa()) and "kappa nan" in test.result().axes[0].get_title()


def test_what_cannot_be_an_answer_is_refused(test):
    for reader, word in (("C", "real"), ("A", "fake")):
        with pytest.raises(InputError, match="readers are A, B, words are generated and real"):
            test.answer(reader, word)
    for _ in range(3):
        test.answer("A", "real")
    with pytest.raises(InputError, match="each has 3 pictures"):
        test.answer("A", "real")
    with pytest.raises(InputError, match="2 images and 3 truths"):
        VisualTuringTest(torch.zeros(2, 1, 8, 8), torch.ones(3))


def test_without_a_kernel_all_pictures_are_shown_and_no_answers(test):
    data, metadata = test._repr_mimebundle_()
    sheet = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert sheet.width > 2 * sheet.height  # a row of six places, not one picture
    assert "3 numbered pictures" in data["text/plain"] and "numbered" in metadata["image/png"]["alt"]
    before = data["image/png"]
    test.answer("A", "real")
    assert test._repr_mimebundle_()[0]["image/png"] == before
