"""Exercise and question of the lecture on finding what was never seen."""

from __future__ import annotations

import torch
from torch import Tensor

from mrctlib.exercises import Exercise, Question
from mrctlib.training.anomaly import anomaly_score


def _sum(difference: Tensor) -> Tensor:
    return difference.flatten(1).sum(1)


Exercise(
    "anomaly.score",
    reference=anomaly_score,
    inputs=lambda: (torch.randn(3, 1, 6, 5), torch.randn(3, 1, 6, 5), torch.randn(3, 4, 3, 2), torch.randn(3, 4, 3, 2), 0.3),
    wrong=[
        (lambda x, g, s, t, w: anomaly_score(x, g, s, t, 1 - w), "The two weights have changed places: `weight` goes with the features, `1 - weight` with the pixels."),
        (lambda x, g, s, t, w: _sum((x - g).abs()) + w * _sum((s - t).abs()), "The pixels have a weight too: `1 - weight`."),
        (lambda x, g, s, t, w: (1 - w) * _sum((x - g).abs()), "The features are missing."),
        (lambda x, g, s, t, w: _sum((x - g).abs()) + _sum((s - t).abs()), "The weights are missing."),
        (lambda x, g, s, t, w: anomaly_score(x, g, s, t, w).sum(), "One number for each image: sum over all axes but the first, `.flatten(1).sum(1)`."),
        (lambda x, g, s, t, w: (1 - w) * (x - g).abs().sum() + w * _sum((s - t).abs()), "The pixels of all images are added up: sum over all axes but the first, `.flatten(1).sum(1)`."),
        (lambda x, g, s, t, w: (1 - w) * (x - g).abs().flatten(1).mean(1) + w * (s - t).abs().flatten(1).mean(1), "These are means: the equation has sums, so that pixels and features count by their number."),
        (lambda x, g, s, t, w: (1 - w) * _sum((x - g) ** 2) + w * _sum((s - t) ** 2), "These are squares: take absolute differences."),
        (lambda x, g, s, t, w: (1 - w) * _sum(x - g) + w * _sum(s - t), "Too bright and too dark cancel: take the absolute value before you sum."),
        (lambda x, g, s, t, w: (1 - w) * _sum(x - g).abs() + w * _sum(s - t).abs(), "Take the absolute value of each pixel, not of the sum: too bright and too dark cancel."),
        (lambda x, g, s, t, w: (1 - w) * (x - g).abs().sum((2, 3))[:, 0] + w * (s - t).abs().sum((2, 3))[:, 0], "Only the first map of the features is in: sum over the channels too."),
    ],
)  # fmt: skip

Question(
    "anomaly.off_centre",
    text="A healthy person lies 16 mm off centre in the scanner. All training slices were well centred. What happens to the "
    "anomaly score of this person's slices?",
    choices=[
        "it stays: there is no lesion",
        "it rises: the generator never made such a slice",
        "it falls: the generator knows healthy brains best",
        "it stays: a convolution does not mind a shift",
    ],
    answer="b",
    explanation="The score measures how far a slice is from the training set. It does not know what a disease is.",
    wrong={
        "a": "Nobody told the score what a lesion is: it only knows how far it is from what the generator can make.",
        "c": "It knows healthy brains in the place where it saw them. Can it make one that lies off centre?",
        "d": "The latent vector enters through a layer with a weight for every place of its map: the generator has learned where a head lies.",
    },
)  # fmt: skip
