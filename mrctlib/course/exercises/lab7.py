"""Exercises and questions of the lab on MR to CT from pairs: Dixon, losses that forgive, three planes, dose."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.course.exercises.core import Exercise, Question

# ---------------------------------------------------------------------------------------------------- Dixon


def water_and_fat(in_phase: Tensor, out_of_phase: Tensor) -> tuple[Tensor, Tensor]:
    """(water, fat) from the echo where the two add up and the signed echo where fat is subtracted. Dixon 1984."""
    return (in_phase + out_of_phase) / 2, (in_phase - out_of_phase) / 2


Exercise(
    "paired.water_and_fat",
    reference=water_and_fat,
    inputs=lambda: (torch.rand(4, 5) + 0.5, torch.randn(4, 5)),
    wrong=[
        (lambda in_phase, out_of_phase: (in_phase + out_of_phase, in_phase - out_of_phase), "In phase plus out of phase is water + fat + water - fat: twice the water. Halve both."),
        (lambda in_phase, out_of_phase: water_and_fat(in_phase, out_of_phase)[::-1], "You have the two the other way round: water first."),
        (lambda in_phase, out_of_phase: ((in_phase + out_of_phase) / 2, (out_of_phase - in_phase) / 2), "Fat has the wrong sign: out of phase is water minus fat."),
        (lambda in_phase, out_of_phase: (out_of_phase, in_phase - out_of_phase), "Out of phase is not water: it is water minus fat."),
        (lambda in_phase, out_of_phase: ((in_phase + out_of_phase.abs()) / 2, (in_phase - out_of_phase.abs()) / 2), "Keep the sign of the out-of-phase echo: where fat wins it is negative, and its size alone would swap the two."),
    ],
)  # fmt: skip

Question(
    "paired.dixon",
    text="Four Dixon images enter the network, but water and fat are computed from the other two. What can the network know "
    "from four that it cannot know from in-phase and out-of-phase with its sign?",
    choices=["where bone is", "how much fat a voxel holds", "nothing in principle: it could compute them itself", "HU"],
    answer="c",
    explanation="What is computed from the input adds no information. It may still be learned sooner, since the network "
    "need not find the sum and the difference itself. In this lab the out-of-phase image is stored without its sign, and so "
    "water and fat do tell something that the two echoes as stored do not: which of them is more.",
    wrong={
        "a": "Bone gives hardly any signal in any of the four.",
        "b": "That is half the difference of the two echoes.",
        "d": "No MR contrast measures how strongly X-rays are weakened.",
    },
)

# ---------------------------------------------------------------------------------------------------- misregistration

Question(
    "paired.mean_or_median",
    text="Eight training pairs show the same spot, but the CT is shifted by another amount in each. The spot is bone (1000 "
    "HU) in three of the CTs and brain (40 HU) in five. Which value does the network learn there with the L1 loss?",
    answer=40,
    unit="HU",
    tolerance=1,
    explanation="L1 is least at the median. A skull that is thin against the shift has no majority anywhere: it vanishes.",
    wrong={400: "That is the mean, (3 x 1000 + 5 x 40) / 8: L2 gives it. L1 goes to the median.", 1000: "Only three of eight say bone."},
)  # fmt: skip


def forgiving_huber(difference: Tensor, alpha: float, dead: float) -> Tensor:
    """0 where |a| < `dead`, a^2 / 2 up to `alpha`, alpha (|a| - alpha / 2) beyond, for each difference a, any shape.

    Huber's loss with a dead zone, the form ascribed to Zhao's work on CT from Dixon MR: noise is no error, a small one
    counts by its square, and a large one, which may be the registration's and not the network's, pulls no harder than
    one of alpha.
    """
    size = difference.abs()
    value = torch.where(size <= alpha, size**2 / 2, alpha * (size - alpha / 2))
    return torch.where(size < dead, 0.0, value)


def _huber(a: Tensor, alpha: float, dead: float, *, inner=None, outer=None) -> Tensor:
    """The loss with another inner or outer part."""
    size = a.abs()
    inside = size**2 / 2 if inner is None else inner(size, alpha)
    outside = alpha * (size - alpha / 2) if outer is None else outer(size, alpha)
    return torch.where(size < dead, 0.0, torch.where(size <= alpha, inside, outside))


Exercise(
    "paired.forgiving_huber",
    reference=forgiving_huber,
    inputs=lambda: (torch.randn(6, 7).mul(0.5).requires_grad_(), 0.4, 0.1),
    wrong=[
        (lambda difference, alpha, dead: _huber(difference, alpha, 0.0), "The dead zone is missing: below `dead` the loss is 0."),
        (lambda difference, alpha, dead: _huber(difference, alpha, dead, inner=lambda a, _: a**2), "The square is halved: without that there is a jump at alpha."),
        (lambda difference, alpha, dead: _huber(difference, alpha, dead, outer=lambda a, alpha: alpha * a), "Beyond alpha subtract alpha / 2: without that there is a jump."),
        (lambda difference, alpha, dead: _huber(difference, alpha, dead, outer=lambda a, alpha: a - alpha / 2), "The factor alpha is missing beyond alpha: the slope would jump from alpha to 1."),
        (lambda difference, alpha, dead: _huber(difference, alpha, dead, outer=lambda a, _: a**2 / 2), "This is the square everywhere: beyond alpha it goes on as a straight line, so that outliers do not rule."),
        (lambda difference, alpha, dead: torch.where(difference < dead, 0.0, forgiving_huber(difference, alpha, dead)), "What is negative counts too: take the absolute value before you compare."),
        (lambda difference, alpha, dead: forgiving_huber(difference, alpha, dead).mean(), "One value for each difference: the mean is taken later."),
        (lambda difference, alpha, dead: forgiving_huber(difference, dead, alpha), "`alpha` and `dead` are swapped."),
    ],
)  # fmt: skip


def pooled(image: Tensor, size: int) -> Tensor:
    """(N, 1, H, W) to the same: the brightest value within a square window of odd `size` about each pixel."""
    return F.max_pool2d(image, size, stride=1, padding=size // 2)


Exercise(
    "paired.pooled",
    reference=pooled,
    inputs=lambda: (torch.randn(2, 1, 7, 8) - 2, 3),
    wrong=[
        (lambda image, size: F.max_pool2d(image, size), "This also shrinks the image: take `stride=1`, and a padding that keeps the size."),
        (lambda image, size: F.max_pool2d(image, size, stride=1), "The rim is lost: pad by half the window, `size // 2`."),
        (lambda image, size: F.avg_pool2d(image, size, stride=1, padding=size // 2, count_include_pad=False), "This is the mean of the window; the brightest value is asked for."),
        (lambda image, size: F.avg_pool2d(image, size, stride=1, padding=size // 2), "This is the mean of the window, zeros of the padding included; the brightest value is asked for."),
        (lambda image, size: F.max_pool2d(F.pad(image, (size // 2,) * 4), size, stride=1), "Zeros from the padding win over negative values at the rim: `max_pool2d` has a `padding` of its own that never wins."),
        (lambda image, size: -F.max_pool2d(-image, size, stride=1, padding=size // 2), "This is the darkest value of the window."),
        (lambda image, size: F.max_pool2d(image, 2 * size + 1, stride=1, padding=size), "`size` is the width of the window, not its half."),
    ],
)  # fmt: skip

Question(
    "paired.window",
    text="Max pooling with a 3 x 3 window lets a bright structure spread by one pixel on each side. A CT is shifted by one "
    "pixel to the right. How wide (in pixels) is the part of a pooled 4-pixel wide bar on which prediction and shifted CT "
    "still agree that there is bone?",
    answer=5,
    unit="pixels",
    explanation="Both bars grow to 6 pixels, one of them a pixel further: 5 in common (5 of 6), where without pooling 3 of 4 would be.",
    wrong={3: "That is without pooling.", 4: "Both bars grow by one pixel on each side first.", 6: "They are 6 pixels wide, but one pixel apart."},
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- three planes


def to_coronal(volumes: Tensor) -> Tensor:
    """Volumes (N, C, R, A, S) to their coronal slices (N * A, C, R, S), those of the first volume first."""
    return volumes.movedim(3, 1).flatten(0, 1)


Exercise(
    "paired.to_coronal",
    reference=to_coronal,
    inputs=lambda: torch.randn(2, 3, 4, 5, 6),
    wrong=[
        (lambda volumes: volumes.movedim(4, 1).flatten(0, 1), "These are axial slices: for coronal ones it is axis A that is taken apart."),
        (lambda volumes: volumes.movedim(2, 1).flatten(0, 1), "These are sagittal slices: for coronal ones it is axis A that is taken apart."),
        (lambda volumes: volumes.movedim(3, 0).flatten(0, 1), "The slices of the patients are mixed: bring axis A behind the volumes (to place 1), then flatten."),
        (lambda volumes: volumes.reshape(-1, volumes.shape[1], volumes.shape[2], volumes.shape[4]), "`reshape` alone only cuts the memory anew and tears the images up: move axis A to place 1 first."),
        (lambda volumes: to_coronal(volumes).transpose(2, 3), "Right images, turned: (R, S), not (S, R)."),
        (lambda volumes: volumes.movedim(3, 1), "Now the axes are in order: flatten the first two into one."),
    ],
)  # fmt: skip


Question(
    "paired.fusion",
    text="Three networks are right on average, each with a random error of 30 HU (standard deviation) that has nothing to "
    "do with those of the others. What is the standard deviation of the error of their mean?",
    answer=30 / 3**0.5,
    unit="HU",
    tolerance=0.5,
    explanation="Variances add up: the sum has 3 x 30^2; the mean has 30^2 / 3, so 30 / sqrt(3) = 17.3. In truth the three "
    "share many errors, so the gain is smaller.",
    wrong={10: "Errors add up with random signs: the mean of three has 1 / sqrt(3) of the error, not a third.", 30: "Part of the errors cancels.", 90: "That is the sum of the three."},
)  # fmt: skip

Question(
    "paired.control",
    text="Fusing an axial, a coronal and a sagittal network beats the three on average. Which comparison tells whether the three "
    "*planes* did it, and not that there were three networks?",
    choices=[
        "one axial network trained for three times as long",
        "the mean of three axial networks from different seeds",
        "the worst of the three",
        "a larger test set",
    ],
    answer="b",
    explanation="It has as many networks and as many steps. To be quite fair, try three of each plane: one plane may be better alone.",
    wrong={
        "a": "That is one network: it does not show what averaging alone brings.",
        "c": "That the fusion beats the worst says nothing about why.",
        "d": "That makes numbers steadier, but does not separate the two reasons.",
    },
)

# ---------------------------------------------------------------------------------------------------- pix2pix and dose

Question(
    "paired.pix2pix",
    text="The discriminator of pix2pix sees the CT *and* the MR it was made from. What could a generator do if the discriminator saw the CT "
    "alone?",
    choices=[
        "make a convincing CT of somebody else",
        "nothing: the discriminator could not be trained",
        "copy the MR",
        "make the L1 loss 0",
    ],
    answer="a",
    explanation="Realistic is not the same as right for this patient. Beside it the L1 loss also ties the two together.",
    wrong={"b": "It could be: real CTs against made ones.", "c": "An MR does not look like a CT.", "d": "L1 asks for the right patient."},
)  # fmt: skip


def depth_error(ct_density: np.ndarray, sct_density: np.ndarray, step: float) -> float:
    """How many mm of water a straight ray has passed more on the sCT than on the CT; densities along it, step in mm."""
    return float((sct_density - ct_density).sum() * step)


def _trapezium(ct_density: np.ndarray, sct_density: np.ndarray, step: float) -> float:
    more = sct_density - ct_density
    return float((more.sum() - (more[0] + more[-1]) / 2) * step)


def _ray() -> tuple[np.ndarray, np.ndarray, float]:
    return np.random.rand(12), np.random.rand(12) + 0.3, 3.2


Exercise(
    "paired.depth_error",
    reference=depth_error,
    inputs=_ray,
    wrong=[
        (lambda ct_density, sct_density, step: depth_error(sct_density, ct_density, step), "The sign: above 0 when the sCT is denser."),
        (lambda ct_density, sct_density, step: float(np.abs(sct_density - ct_density).sum() * step), "Keep the signs: too dense here and too thin there cancel along a ray."),
        (lambda ct_density, sct_density, step: float((sct_density - ct_density).sum()), "This counts voxels: each is `step` mm long."),
        (lambda ct_density, sct_density, step: float((sct_density - ct_density).mean() * step), "The sum along the ray, not the mean."),
        (lambda ct_density, sct_density, step: (sct_density - ct_density) * step, "Add up along the ray: one number."),
        (_trapezium, "These are voxels, each `step` mm long, so the first and the last count in full. (The trapezium rule is for points: there the line would end in the middles of these two.)"),
    ],
)  # fmt: skip

Question(
    "paired.dose",
    text="Two synthetic CTs have the same MAE. One has random noise everywhere; the other is right but for a frontal sinus "
    "filled with bone. A proton beam comes from the front. Which plan do you fear?",
    choices=["the noisy one", "the one with the filled sinus", "both alike: the MAE is the same", "neither"],
    answer="b",
    explanation="A range is a sum along the beam: noise cancels, a sinus full of bone does not.",
    wrong={
        "a": "Add noise up along a ray: what happens to it?",
        "c": "The MAE forgets where the errors are and which sign they have.",
        "d": "Work out what the rays through the sinus meet.",
    },
)
