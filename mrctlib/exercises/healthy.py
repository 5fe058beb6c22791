"""Exercises and questions on making a diseased brain healthy: does the difference map show the disease?"""

from __future__ import annotations

import torch
from torch import Tensor

from mrctlib.exercises import Exercise, Question


def ncc(found: Tensor, true: Tensor) -> Tensor:
    """Normalised cross-correlation of two sets of maps (N, 1, H, W), a number from -1 to 1 for each pair: (N,).

    Each map less its own mean, then the cosine of the angle between the two. A map that is flat is worth 0. The score of
    Baumgartner et al. 2018.
    """
    a, b = (maps.flatten(1) - maps.flatten(1).mean(1, keepdim=True) for maps in (found, true))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _centred(maps: Tensor) -> Tensor:
    return maps.flatten(1) - maps.flatten(1).mean(1, keepdim=True)


def _unbiased(found: Tensor, true: Tensor) -> Tensor:
    a, b = _centred(found), _centred(true)
    return (a * b).mean(1) / (a.std(1) * b.std(1))


def _of_all_at_once(found: Tensor, true: Tensor) -> Tensor:
    return ncc(found.flatten()[None], true.flatten()[None])[0]


Exercise(
    "healthy.ncc",
    reference=ncc,
    inputs=lambda: (0.7 + torch.randn(4, 1, 5, 6), 0.2 - 2 * torch.randn(4, 1, 5, 6)),
    wrong=[
        (lambda f, t: _cosine(f.flatten(1), t.flatten(1)), "The means are still in: subtract each map's own mean first."),
        (lambda f, t: _cosine(f.flatten(1) - f.mean(), t.flatten(1) - t.mean()), "This is the mean of the whole batch: each map has a mean of its own."),
        (lambda f, t: (_centred(f) * _centred(t)).mean(1), "This is the covariance: divide by the sizes of both maps, or a larger map gets a larger score."),
        (lambda f, t: (_centred(f) * _centred(t)).sum(1), "Divide by the sizes of both maps, or a larger map gets a larger score."),
        (_unbiased, "The mean divides by n, `std` by n - 1: take norms on both sides, or `std(unbiased=False)`."),
        (lambda f, t: ncc(f, t).abs(), "Keep the sign: a map that brightens what should get darker is wrong, not right."),
        (lambda f, t: ncc(f, t) ** 2, "This is the square: a map with the wrong sign would look right."),
        (lambda f, t: ncc(f.abs(), t.abs()), "Keep the signs of the maps: brighter and darker are different changes."),
        (lambda f, t: ncc(f, t).mean(), "One number for each pair, (N,): the mean over patients comes later."),
        (_of_all_at_once, "One number for each pair, (N,): `flatten(1)` keeps the patients apart."),
        (lambda f, t: 1 - ncc(f, t), "This is a distance: 1 should mean that the maps agree."),
    ],
)  # fmt: skip

Question(
    "healthy.somebody_else",
    text="The generator is trained by the discriminator alone. It turns every diseased brain into the same perfect healthy "
    "brain of somebody else. What does the discriminator say?",
    choices=[
        "that this is the wrong person",
        "nothing: it is asked whether a brain looks healthy, not whose it is",
        "that the ventricles are too small for this skull",
        "that the map is too large",
    ],
    answer="b",
    explanation="It never sees what went in. It could notice that all get the same brain, as with every collapse; "
    "that the brain belongs to somebody else it cannot. Only the term on the size of the map ties the answer to the patient.",
    wrong={
        "a": "It would need the diseased image for that: here it only gets one image at a time.",
        "c": "The brain that it is shown is perfect, skull and ventricles together. It is just not this patient's.",
        "d": "It is never shown the map. The size of the map is what the other term of the loss is for.",
    },
)  # fmt: skip
