"""Intervals and agreement against other libraries, and the visual Turing test played without a browser."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from mrctlib.exercises import check
from mrctlib.readers import cohens_kappa, wilson_interval
from mrctlib.runtime import InputError
from mrctlib.widgets import VisualTuringTest


@pytest.mark.parametrize("right, total", [(0, 10), (10, 10), (8, 10), (7, 12), (1, 1), (120, 200)])
def test_wilson_agrees_with_scipy(right, total):
    theirs = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson_interval(right, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_holds_the_true_share_about_95_times_in_100():
    rights = np.random.default_rng(0).binomial(40, 0.6, 2000)
    held = [low <= 0.6 <= high for low, high in (wilson_interval(int(right), 40) for right in rights)]
    assert 0.93 < np.mean(held) < 0.97


@pytest.mark.parametrize("right, total", [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(right, total):
    with pytest.raises(InputError, match=f"{right} right of {total}"):
        wilson_interval(right, total)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_agrees_with_scikit_learn(seed):
    numbers = np.random.default_rng(seed)
    a = numbers.integers(0, 3, 30)
    b = np.where(numbers.random(30) < 0.5, a, numbers.integers(0, 3, 30))
    assert cohens_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))


def test_kappa_by_hand():
    # Cohen's form of a 2 x 2 table: both yes 20, only the first 5, only the second 10, both no 15: p = 0.7, e = 0.5.
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert cohens_kappa(a, a) == 1
    assert cohens_kappa([0, 1], [1, 0]) == -1
    assert np.isnan(cohens_kappa([1, 1], [1, 1]))


def test_readers_without_the_same_images_are_refused():
    for a, b in (([], []), ([1], [1, 0])):
        with pytest.raises(InputError, match="one answer of each reader"):
            cohens_kappa(a, b)


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
    low, high = test.result().axes[0].lines[0].get_xdata()
    assert (low, high) == wilson_interval(2, 3)


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
    assert test.kappa() == pytest.approx(cohens_kappa(test.answers["A"], test.answers["B"])) and test.kappa() < 1
    assert "kappa 0.40" in test.result().axes[0].get_title()


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
