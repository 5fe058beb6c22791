"""Exercises and questions on limits: what a translation adds and removes, and what a generator remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from mrctlib.exercises import Exercise, Question

# ---------------------------------------------------------------------------------------------------- hallucination

Question(
    "limits.mean_error",
    text="A lesion fills 2% of the brain. A translation is off by 0.10 on average in every tissue. Another is exactly as good, "
    "but paints healthy tissue over the lesion, and is off by 0.60 there. What is its mean absolute error?",
    answer=0.11,
    tolerance=0.0005,
    explanation="0.98 x 0.10 + 0.02 x 0.60 = 0.11. A whole tumour costs a tenth more, which is easily lost among other differences "
    "between two methods.",
    wrong={
        0.6: "That is the error in the lesion alone. The mean is taken over all of the brain.",
        0.35: "That counts the lesion as half of the brain. Weigh each part by its share.",
        0.112: "The lesion's 2% are no longer off by 0.10 as well: the rest is 98%.",
        0.7: "The two are not added: weigh each by its share, 98% and 2%.",
        0.1: "That is the first translation. Something must be paid for the lesion.",
    },
)

# ---------------------------------------------------------------------------------------------------- memory


def nearest_distances(images: Tensor, others: Tensor) -> Tensor:
    """Of each image (N, ...) to the nearest of `others` (M, ...): (N,), root mean squared difference of the pixels."""
    a, b = images.flatten(1), others.flatten(1)
    return torch.cdist(a, b).min(1).values / a.shape[1] ** 0.5


def _all_distances(images: Tensor, others: Tensor) -> Tensor:
    """(N, M): root mean squared difference of each image to each of the others."""
    return (images[:, None] - others[None]).flatten(2).square().mean(2).sqrt()


Exercise(
    "limits.nearest_distances",
    reference=nearest_distances,
    inputs=lambda: (torch.randn(5, 1, 4, 6), torch.randn(3, 1, 4, 6)),
    wrong=[
        (lambda images, others: _all_distances(images, others).min(0).values, "The minimum runs over the wrong axis: one number for each of `images`, not of `others`."),
        (lambda images, others: _all_distances(images, others), "That is every image against every other: take the nearest, the minimum over dimension 1."),
        (lambda images, others: _all_distances(images, others).min(1), "`min` with a dimension gives values and indices: take `.values`."),
        (lambda images, others: _all_distances(images, others).min(1).indices, "That says *which* is nearest. Asked is how far it is: `.values`."),
        (lambda images, others: _all_distances(images, others).min(), "One number for each image, not one for all: give `min` a dimension."),
        (lambda images, others: _all_distances(images, others).mean(1), "That is the mean distance. A copy of one image is far from all the others: take the minimum."),
        (lambda images, others: _all_distances(images, others).max(1).values, "That is the farthest, not the nearest."),
        (lambda images, others: _all_distances(images, others).square().min(1).values, "The root is missing: this is the mean *squared* difference."),
        (lambda images, others: torch.cdist(images.flatten(1), others.flatten(1)).min(1).values, "This grows with the number of pixels: divide by its root, which makes the sum of squares a mean."),
        (lambda images, others: (images[:, None] - others[None]).flatten(2).abs().mean(2).min(1).values, "This is the mean absolute difference: square, mean, root."),
        (lambda images, others: (images - others.mean(0)).flatten(1).square().mean(1).sqrt(), "That is the distance to the mean image, in which nobody is seen. Compare with each of `others`."),
    ],
)  # fmt: skip

Question(
    "limits.private",
    text="A clinic trains on 500 patients. Generated patients are as far from the training set as new, real patients are. May the "
    "generator be given away as anonymous?",
    choices=[
        "Yes: no patient is nearer than chance",
        "No: pixel distance misses a patient who is shifted, mirrored or in part copied, and a mean misses a single one",
        "No: the distance would have to be larger than that of real patients",
        "Yes, if the generator is deleted and only its images are given away",
    ],
    answer="b",
    explanation="A small distance shows a leak; a large one shows nothing. Privacy has to be built in (Xie et al. 2018, DPGAN: "
    "training with differential privacy) and attacked by others (Chen et al. 2020, GAN-Leaks), not read off a histogram.",
    wrong={
        "a": "On average. One patient in 500 may still be copied, and a shift of one pixel is enough to look far away.",
        "c": "Bad images are far from everybody: noise would pass. Distance alone cannot be the aim.",
        "d": "The images are where the patients would be seen. Deleting the generator takes back none of them.",
    },
)
