"""Exercises and questions of the lecture on GANs in medicine that belong to no single application's module."""

from __future__ import annotations

import torch
from torch import Tensor

from mrctlib.data.vessels import tortuosity
from mrctlib.exercises import Exercise, Question


def _squared_steps(points: Tensor) -> Tensor:
    return points.diff(dim=2).square().sum((1, 2)) / (points[:, :, -1] - points[:, :, 0]).norm(dim=1)


Exercise(
    "applications.tortuosity",
    reference=tortuosity,
    inputs=lambda: torch.randn(4, 3, 12).cumsum(2),
    wrong=[
        (lambda p: 1 / tortuosity(p), "Upside down: a winding line is longer than the way straight across, so the result is at least 1."),
        (lambda p: p.diff(dim=2).norm(dim=1).sum(1), "This is the length. Divide it by the distance between the ends."),
        (lambda p: (p[:, :, -1] - p[:, :, 0]).norm(dim=1), "This is the distance between the ends, what the length is divided by."),
        (_squared_steps, "The length of a step is the root of the sum of squares over x, y and z."),
        (lambda p: p.diff(dim=2).norm(dim=1).mean(1) / (p[:, :, -1] - p[:, :, 0]).norm(dim=1), "Add the steps up: the mean step is not the length."),
        (lambda p: p.diff(dim=2).norm(dim=1).sum(1) / p[:, :, -1].norm(dim=1), "The distance from the *first* point to the last: the first need not lie in the origin."),
        (lambda p: p.diff(dim=2).norm(dim=2).sum(1) / (p[:, :, -1] - p[:, :, 0]).norm(dim=1), "The norm is over x, y and z, dimension 1; the sum is over the steps."),
    ],
)  # fmt: skip

_VOXELS = 120**3 * 8  # 0.5 mm
_NUMBERS = 4 * 32

Question(
    "applications.shape_or_pixels",
    text="An artery fits into a box of 120 mm a side. How many times as many numbers are the voxels of 0.5 mm in that box as a shape of "
    "32 points (x, y, z and a radius each)?",
    answer=_VOXELS / _NUMBERS,
    tolerance=0.02 * _VOXELS / _NUMBERS,
    explanation="240 x 240 x 240 voxels are 13.8 million, 32 points of 4 numbers are 128: 108,000 times as many. And a voxel grid "
    "says nowhere that an artery is one piece.",
    wrong={
        120**3 / _NUMBERS: "A voxel is 0.5 mm wide: there are 240 on each side.",
        240**2 / _NUMBERS: "The box has three sides.",
        _VOXELS / 32: "Each point has four numbers: x, y, z and the radius.",
        _VOXELS / 96: "The radius is a number, too: four for each point.",
        _VOXELS: "That is the number of voxels. Divide it by the numbers of the shape.",
    },
)

Question(
    "applications.workflow",
    text="A clinic plans radiotherapy of the brain on MR alone. What is the synthetic CT used for?",
    choices=[
        "to draw the tumour, which stands out better than on MR",
        "to compute the dose, and as reference for positioning the patient by X-ray",
        "to look for diseases that MR has missed",
        "to train the network further with each new patient",
    ],
    answer="b",
    explanation="Dose needs to know how much each voxel weakens the beam, and X-ray images at the treatment machine need bone to be compared "
    "with. The tumour is drawn on MR, and a diagnosis must never rest on a picture that a network has painted.",
    wrong={
        "a": "MR is what shows the tumour. The synthetic CT knows nothing that the MR does not.",
        "c": "Whatever is on the synthetic CT, the network guessed from the MR. It is no second look at the patient.",
        "d": "Without a real CT there is no answer to learn from.",
    },
)

Question(
    "applications.published",
    text="Wolterink et al. 2017 report 73.7 HU for a CycleGAN without pairs, better than a GAN trained with pairs, on 24 patients. What may "
    "one conclude?",
    choices=[
        "unpaired training is better than paired training",
        "on their pairs, which were registered and fit only nearly, and with their networks, going without them did not cost anything",
        "a CycleGAN beats every supervised network",
        "73.7 HU is good enough for treatment",
    ],
    answer="b",
    explanation="One cohort, one registration, one paired model. On pairs that fit perfectly, as our phantom's, pairs win by far: "
    "see the table in lab 8. And what is good enough is a question of dose, not of HU.",
    wrong={
        "a": "For these data and networks. What if the pairs fitted better?",
        "c": "They compared with one paired model, on one cohort.",
        "d": "An MAE does not say where the error lies: see the dose in lab 7.",
    },
)
