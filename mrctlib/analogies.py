"""Image analogies: A is to A' as B is to B'. Hertzmann et al., SIGGRAPH 2001. No network, nothing is trained.

B' is painted pixel by pixel, row by row. Each pixel is copied from A', from the place where A looks as B does here and
where A' looks as what is already painted of B' does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mrctlib.runtime import InputError

FINE, COARSE = 2, 1  # patches of 5 x 5 pixels at this level, of 3 x 3 at the coarser one
BEFORE = 12  # of the 25 pixels of a patch so many come before its middle, row by row
CANDIDATES = 24  # how many places a pixel chooses from, besides those that go on where its neighbours came from
OFFSETS = np.array([(row, column) for row in range(-FINE, FINE + 1) for column in range(-FINE, FINE + 1)][:BEFORE])


@dataclass(frozen=True)
class Analogy:
    """B', (H, W), and where each of its pixels was copied from: (3, H, W), number, row and column of the example."""

    image: np.ndarray
    sources: np.ndarray


def analogy(a: np.ndarray, a_prime: np.ndarray, b: np.ndarray, *, levels: int = 2, coherence: float = 1.0) -> Analogy:
    """Paint B' so that A : A' = B : B'.

    Hertzmann et al. 2001, section 3, on a pyramid of `levels`. Two things are simpler here: the best match is looked
    for among the `CANDIDATES` places that are nearest without the pixels painted so far (they take a tree, the search
    is approximate in both), and intensities are not remapped.

    Args:
        a, a_prime: (N, H, W), examples and what became of them, in the same places.
        b: (h, w), what the same is to be done to.
        coherence: how much worse (as a share of the squared distance, half of it at each coarser level) a place may
            match and still be taken because it goes on where a neighbour came from. Their kappa.

    Raises:
        InputError: shapes that do not fit together, or that cannot be halved levels - 1 times.
    """
    a, a_prime, b = (np.asarray(image, np.float32) for image in (a, a_prime, b))
    if a.ndim != 3 or a.shape != a_prime.shape or b.ndim != 2:
        raise InputError(f"a is {a.shape}, a_prime {a_prime.shape}, b {b.shape}: give (N, H, W) twice, and (h, w)")
    if any(size % 2 ** (levels - 1) for size in (*a.shape[1:], *b.shape)):
        raise InputError(f"{a.shape[1:]} and {b.shape} pixels: {levels} levels need multiples of {2 ** (levels - 1)}")
    known, asked = [_patches(a, FINE)], [_patches(b[None], FINE)]
    if levels > 1:
        coarse = analogy(_half(a), _half(a_prime), _half(b[None])[0], levels=levels - 1, coherence=coherence / 2)
        known += [_double(_patches(_half(image), COARSE)) for image in (a, a_prime)]
        asked += [_double(_patches(image, COARSE)) for image in (_half(b[None]), coarse.image[None])]
    known, asked = np.concatenate(known, -1), np.concatenate(asked, -1)[0]
    return _paint(known, asked, a_prime, coherence)


def _paint(known: np.ndarray, asked: np.ndarray, a_prime: np.ndarray, coherence: float) -> Analogy:
    """known: (N, H, W, D), what is known of each place of A; asked: (h, w, D), of each pixel of B."""
    shape, (height, width, depth) = a_prime.shape, asked.shape
    near = _nearest(known.reshape(-1, depth), asked.reshape(-1, depth)).reshape(height, width, -1)
    places = np.concatenate([known, _patches(a_prime, FINE)[..., :BEFORE]], -1).reshape(-1, depth + BEFORE)
    values, weights = a_prime.ravel(), _weights(FINE)[:BEFORE]
    painted = np.full((height + 2 * FINE, width + 2 * FINE), np.median(a_prime[:, 0]), np.float32)  # with a margin
    sources = np.full((3, height + 2 * FINE, width + 2 * FINE), -1)
    limits = np.array(shape)[:, None]
    for row in range(height):
        for column in range(width):
            before = painted[row : row + 2 * FINE + 1, column : column + 2 * FINE + 1].ravel()[:BEFORE]
            wanted = np.concatenate([asked[row, column], before * weights])
            # Where the neighbours came from, moved by as much as this pixel lies from them.
            neighbours = sources[:, row + FINE + OFFSETS[:, 0], column + FINE + OFFSETS[:, 1]]
            onward = neighbours - np.stack([np.zeros(BEFORE, int), *OFFSETS.T])
            inside = (neighbours[0] >= 0) & ((onward >= 0) & (onward < limits)).all(0)
            onward = np.ravel_multi_index(onward[:, inside], shape)
            choices = np.concatenate([near[row, column], onward])
            distances = np.square(places[choices] - wanted).sum(1)
            best = distances[:CANDIDATES].argmin()
            if len(onward):
                coherent = CANDIDATES + distances[CANDIDATES:].argmin()
                best = coherent if distances[coherent] <= distances[best] * (1 + coherence) else best
            painted[row + FINE, column + FINE] = values[choices[best]]
            sources[:, row + FINE, column + FINE] = np.unravel_index(choices[best], shape)
    middle = slice(FINE, -FINE)
    return Analogy(painted[middle, middle].copy(), sources[:, middle, middle].copy())


def _nearest(places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(P, D), (Q, D) to (Q, CANDIDATES): which places are nearest to what is wanted, best first."""
    places, wanted = torch.from_numpy(places), torch.from_numpy(wanted)
    sizes = places.square().sum(1)
    distances = (sizes - 2 * part @ places.T for part in wanted.split(512))
    return torch.cat([found.topk(CANDIDATES, largest=False).indices for found in distances]).numpy()


def _patches(images: np.ndarray, radius: int) -> np.ndarray:
    """(N, H, W) to (N, H, W, (2 radius + 1)^2): the patch about each pixel, its middle counting most."""
    padded = np.pad(images, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    size = 2 * radius + 1
    cut = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return (cut.reshape(*images.shape, -1) * _weights(radius)).astype(np.float32)


def _weights(radius: int) -> np.ndarray:
    """Square roots of Gaussian weights that sum to 1, so that every patch counts alike, whatever its size."""
    line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * (radius / 1.5) ** 2))
    weights = np.outer(line, line)
    return np.sqrt(weights / weights.sum()).ravel().astype(np.float32)


def _half(images: np.ndarray) -> np.ndarray:
    """(N, H, W) to (N, H / 2, W / 2): means of 2 x 2 pixels."""
    count, height, width = images.shape
    return images.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4))


def _double(patches: np.ndarray) -> np.ndarray:
    """(N, H, W, D) to (N, 2 H, 2 W, D): each pixel for the four that it stands for."""
    return patches.repeat(2, axis=1).repeat(2, axis=2)
