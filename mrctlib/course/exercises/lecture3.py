"""The exercises of lecture 3: an overlap that can be learned from, and slices with their neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.course.exercises.core import Exercise


def soft_dice(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Overlap of each class, (C,), from 0 to 1: twice what both have in common, over the sum of both sizes.

    probabilities and truth (0 or 1): (N, C, H, W). All images count together. Milletari et al. 2016, with sums in the
    denominator where they have squares.
    """
    both = (probabilities * truth).sum((0, 2, 3))
    sizes = (probabilities + truth).sum((0, 2, 3))
    return 2 * both / sizes


def _draw_maps() -> tuple[Tensor, Tensor]:
    truth = F.one_hot(torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), 3 * 30, True), 3).float()
    scores = torch.randn(3, 3, 5, 6).requires_grad_()
    return scores.softmax(1), truth.reshape(3, 5, 6, 3).movedim(3, 1)


def _by_image(p: Tensor, y: Tensor) -> Tensor:
    return (2 * (p * y).sum((2, 3)) / (p + y).sum((2, 3))).mean(0)


def _jaccard(p: Tensor, y: Tensor) -> Tensor:
    both = (p * y).sum((0, 2, 3))
    return both / ((p + y).sum((0, 2, 3)) - both)


Exercise(
    "voxels.soft_dice",
    reference=soft_dice,
    inputs=_draw_maps,
    wrong=[
        (lambda p, y: 1 - soft_dice(p, y), "This is the *loss*: the overlap itself is asked for here."),
        (lambda p, y: soft_dice(p, y) / 2, "Twice what both have in common: for two equal maps the answer must be 1."),
        (lambda p, y: soft_dice(p, y).mean(), "One number for each class: do not average them yet."),
        (_by_image, "Add up over all images first: a slice with hardly any of a tissue would count as much as a full one."),
        (_jaccard, "This is the Jaccard index, the common part over the union. Dice has the *sum* of both sizes below."),
        (lambda p, y: 2 * (p * y).sum() / (p + y).sum(), "All classes are added up, so the largest decides: keep the class axis."),
        (lambda p, y: 2 * (p * y).sum((0, 2, 3)) / (p.square() + y.square()).sum((0, 2, 3)), "There are squares below, as Milletari et al. had them. The formula above has sums."),
        (lambda p, y: soft_dice((p > 0.5).float(), y), "The probabilities are cut to 0 or 1: then nothing can be learned from them, since a step has no slope."),
        (lambda p, y: soft_dice(F.one_hot(p.argmax(1), p.shape[1]).movedim(-1, 1).float(), y), "The most probable class has no slope: use the probabilities themselves."),
        (lambda p, y: 2 * (p * y).mean((0, 2, 3)) / (p + y).sum((0, 2, 3)), "A mean above and a sum below: take the same for both."),
        (lambda p, y: (2 * (p * y).sum((0, 2, 3)) + 1) / ((p + y).sum((0, 2, 3)) + 1), "Leave out the 1 above and below (some add it against an empty class): the formula has none."),
        (lambda p, y: soft_dice(p.transpose(0, 1), y.transpose(0, 1)), "This is one number for each *image*: sum over axes 0, 2 and 3, and keep axis 1."),
    ],
)  # fmt: skip


def thick_slices(volumes: Tensor, beside: int) -> Tensor:
    """Every slice of volumes (N, S, H, W) with `beside` neighbours on either side as channels,
    (N * S, 2 * beside + 1, H, W), from below to above; beyond the ends, the first and the last slice are repeated."""
    padded = torch.cat([volumes[:, :1]] * beside + [volumes] + [volumes[:, -1:]] * beside, 1)
    return padded.unfold(1, 2 * beside + 1, 1).movedim(-1, 2).flatten(0, 1)


def _zeros(volumes: Tensor, beside: int) -> Tensor:
    padded = F.pad(volumes, (0, 0, 0, 0, beside, beside))
    return padded.unfold(1, 2 * beside + 1, 1).movedim(-1, 2).flatten(0, 1)


def _over_the_end(volumes: Tensor, beside: int) -> Tensor:
    """The neighbours of the first slice come from the last, or from another patient."""
    stacked = volumes.flatten(0, 1)
    return torch.stack([stacked.roll(-step, 0) for step in range(-beside, beside + 1)], 1)


def _of_the_next(volumes: Tensor, beside: int) -> Tensor:
    """Ends are repeated, but only those of the whole stack: where two patients meet, they lend each other slices."""
    return thick_slices(volumes.flatten(0, 1)[None], beside)


def _round(volumes: Tensor, beside: int) -> Tensor:
    return torch.stack([volumes.roll(-step, 1) for step in range(-beside, beside + 1)], 2).flatten(0, 1)


Exercise(
    "voxels.thick_slices",
    reference=thick_slices,
    inputs=lambda: (torch.randn(2, 5, 3, 4), 2),
    wrong=[
        (lambda v, beside: thick_slices(v, beside).flip(1), "From below to above: the slice before comes first."),
        (_zeros, "Beyond the ends there are zeros: repeat the first and the last slice."),
        (_over_the_end, "The neighbours of a patient's first slice belong to another patient: stay in each volume."),
        (_of_the_next, "Where two patients meet, they lend each other slices: cut each volume by itself, and only then put all slices one behind the other."),
        (_round, "The neighbours of the first slice are the last ones: `roll` goes round. Repeat the first slice instead."),
        (lambda v, beside: thick_slices(v, 1), "Always one neighbour: take `beside` of them on either side."),
        (lambda v, beside: v.unfold(1, 2 * beside + 1, 1).movedim(-1, 2).flatten(0, 1), "The slices at the ends are left out: every slice gets an answer."),
        (lambda v, beside: thick_slices(v, beside).unflatten(0, (len(v), -1)), "Right numbers; the slices of all volumes one behind the other: `flatten(0, 1)`."),
    ],
)  # fmt: skip
