"""Exercise and questions on domain adaptation: the gradient turned round, what an even game proves, mapping intensities."""

from __future__ import annotations

import torch

from mrctlib.exercises import Exercise, Question
from mrctlib.models.adaptation import reverse_gradient

Exercise(
    "adaptation.reverse_gradient",
    reference=reverse_gradient,
    inputs=lambda: (torch.randn(2, 3, 4, requires_grad=True), 0.4),
    wrong=[
        (lambda features, strength: features, "The gradient comes back as it went: nothing turns it round."),
        (lambda features, strength: features.detach(), "No gradient comes back at all, so the features never hear of the adversary."),
        (lambda features, strength: -strength * features, "This changes the features themselves: on the way forward they must pass as they are."),
        (lambda features, strength: -features, "This changes the features themselves, and the strength is missing."),
        (lambda features, strength: reverse_gradient(features, -strength), "The sign: like this the features *help* the adversary."),
        (lambda features, strength: reverse_gradient(features, 1.0), "The gradient is turned round, but the strength is missing."),
        (lambda features, strength: reverse_gradient(features, 1 + strength), "The gradient comes back times -(1 + strength): take `strength * (features - constant)` away from the *constant*."),
        (lambda features, strength: reverse_gradient(features, strength - 1), "One times the gradient still comes the straight way: begin with `features.detach()`."),
        (lambda features, strength: strength * reverse_gradient(features, 1.0), "The strength belongs to the gradient alone, not to the features."),
    ],
)  # fmt: skip

Question(
    "adaptation.even_adversary",
    text="The adversary is right half of the time: it cannot tell the scanners apart. What does that prove?",
    choices=[
        "the maps of the other scanner are now right",
        "the two scanners make the same images",
        "this adversary finds no difference in the features it is shown",
        "the training has failed",
    ],
    answer="c",
    explanation="Features that are the same for every slice would fool it too, and so would white matter that looks like "
    "the grey matter of the other scanner. Only slices with a known truth tell whether the maps are right.",
    wrong={
        "a": "It was never asked about tissues of the other scanner. Could two tissues be swapped, and the adversary still be fooled?",
        "b": "The images are what they were. What has the adversary seen of them?",
        "d": "The adversary's failure is what the features were trained for.",
    },
)

Question(
    "adaptation.only_a_curve",
    text="Why is the translator here made of 1 x 1 convolutions only?",
    choices=[
        "larger kernels cannot be trained without pairs",
        "it gives every intensity a new one, whatever lies beside it, so anatomy cannot move",
        "it must not change how dark or bright a tissue is",
        "a discriminator cannot judge the output of larger kernels",
    ],
    answer="b",
    explanation="A kernel of 1 sees one pixel. Where two pixels were alike they stay alike, so nothing is painted where "
    "nothing was. The price: what differed may become alike, so a border can fade; and it cannot sharpen, denoise or take away shading.",
    wrong={
        "a": "They can: a CycleGAN is trained so. Ask what else they would be able to change.",
        "c": "That is the very thing it should change.",
        "d": "A discriminator takes any image. Ask what the translator could paint with a larger kernel.",
    },
)
