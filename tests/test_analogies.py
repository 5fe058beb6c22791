"""Image analogies: what was shown is found again, and coherence keeps pieces together."""

import numpy as np
import pytest
from notebook_code import defined_in

analogy, *_ = defined_in(
    "lectures/07_image_to_image.ipynb",
    *("analogy", "halved", "copy_pixels", "choice", "going_on", "nearest", "patches", "patch_weights"),
    *("FINE", "COARSE", "BEFORE", "OFFSETS", "CANDIDATES"),
)


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(2, 16, 20)).astype(np.float32)


def test_an_example_is_found_again(noise):
    image, sources = analogy(noise, -noise, noise[1])
    assert np.allclose(image, -noise[1])
    rows, columns = np.mgrid[:16, :20]
    assert (sources == np.stack([np.ones_like(rows), rows, columns])).all()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_pixels_are_copies_from_the_sources(noise, levels):
    b = np.random.default_rng(1).normal(size=(8, 12))
    image, sources = analogy(noise, noise**2, b, levels=levels)
    assert image.shape == b.shape and sources.shape == (3, *b.shape)
    assert np.array_equal(image, (noise**2)[tuple(sources)])


def test_a_rule_is_carried_over():
    """A' is the negative of a smooth A: so is B' of B, which A never showed."""
    rows, columns = np.mgrid[:32, :32] / 31
    a = np.stack([rows, columns])
    b = np.sqrt(((rows - 0.5) ** 2 + (columns - 0.5) ** 2) * 2)
    image, _ = analogy(a, 1 - a, b)
    assert np.abs(image - (1 - b)).mean() < 0.05


def test_a_patch_tells_what_a_pixel_cannot():
    """Two dark stripes, a thin and a thick one, become white and black: their middles look alike."""
    a = np.ones((1, 24, 24))
    a[:, 4] = a[:, 12:18] = 0
    a_prime = np.where(np.arange(24)[:, None] == 4, 1.0, np.where(a[0] == 0, -1.0, 0.0))[None]
    b = np.roll(a[0], 2, axis=0)
    assert np.array_equal(analogy(a, a_prime, b)[0], np.roll(a_prime[0], 2, axis=0))


def test_coherence_makes_larger_pieces(noise):
    b = np.random.default_rng(2).normal(size=(16, 20))

    def share_that_goes_on(sources):
        """Share of the pixels that were copied from just right of where their left neighbour was."""
        return (np.diff(sources, axis=2) == np.array([0, 0, 1])[:, None, None]).all(0).mean()

    torn, whole = (analogy(noise, noise, b, coherence=kappa)[1] for kappa in (0.0, 20.0))
    assert share_that_goes_on(whole) > share_that_goes_on(torn) + 0.2


def test_bad_shapes_are_refused(noise):
    with pytest.raises(ValueError):
        analogy(noise, noise[:1], noise[0])
    with pytest.raises(ValueError):
        analogy(noise, noise, noise)
    with pytest.raises(ValueError, match="reshape"):
        analogy(noise, noise, noise[0], levels=4)
