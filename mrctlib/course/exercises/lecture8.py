"""The exercises of lecture 8: GANs in medicine, and what they must not be trusted with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mrctlib.course.exercises.core import Exercise, Question

# ---------------------------------------------------------------------------------------------------- anomaly


def anomaly_score(images: Tensor, made: Tensor, seen: Tensor, seen_made: Tensor, weight: float = 0.1) -> Tensor:
    """How far images lie from what a generator made for them, (N,). Schlegl et al. 2017 (AnoGAN), equations 1 to 5.

    The sum of absolute differences of the pixels, times 1 - weight, and that of the features, times weight. It is
    both: what the search makes small, and, at its end, the anomaly score.

    Args:
        images, made: (N, C, H, W); seen, seen_made: (N, ...), what a layer of the discriminator makes of the two.
        weight: the paper's lambda, from 0 to 1.
    """
    residual = (images - made).abs().flatten(1).sum(1)
    feature = (seen - seen_made).abs().flatten(1).sum(1)
    return (1 - weight) * residual + weight * feature


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


# ---------------------------------------------------------------------------------------------------- adaptation


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """The features, any shape, as they are; their gradient comes back times -strength. Ganin and Lempitsky 2015.

    What stands before it climbs the loss that what stands behind it descends: a game of two with one loss and one step.
    """
    constant = features.detach()
    return constant - strength * (features - constant)  # the bracket is 0, but it has a gradient


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


# ---------------------------------------------------------------------------------------------------- readers


def _two_readers() -> tuple[np.ndarray, np.ndarray]:
    """Of 40 images: the first says 1 (real) often, the second less often, and they look at the same things."""
    a = np.random.rand(40) < 0.75
    b = np.where(np.random.rand(40) < 0.6, a, np.random.rand(40) < 0.2)
    return a.astype(int), b.astype(int)


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    return float((a == b).mean())


def _by_chance(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))


def cohens_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two readers beyond chance, from what each said (0 or 1) of the same images, (N,). Cohen 1960.

    (p - e) / (1 - e): p is the share of images they agree on, e the share that two readers would agree on who say each
    word as often as these two, but without looking. 1: always; 0: as by chance; below: less.
    """
    return (_agreement(a, b) - _by_chance(a, b)) / (1 - _by_chance(a, b))


def _pooled(a: np.ndarray, b: np.ndarray) -> float:
    """Scott's pi: one habit for both readers."""
    both = np.concatenate([a, b])
    chance = _by_chance(both, both)
    return (_agreement(a, b) - chance) / (1 - chance)


def _one_word(a: np.ndarray, b: np.ndarray) -> float:
    chance = float(a.mean() * b.mean())
    return (_agreement(a, b) - chance) / (1 - chance)


Exercise(
    "readers.cohens_kappa",
    reference=cohens_kappa,
    inputs=_two_readers,
    wrong=[
        (_agreement, "This is the share of images they agree on. What would two readers agree on who do not look?"),
        (_by_chance, "This is the agreement by chance alone. Subtract it from the share they agree on, and divide by what is left to reach."),
        (lambda a, b: _agreement(a, b) - _by_chance(a, b), "Divide by `1 - p_e`, all that can be reached beyond chance, so that full agreement gives 1."),
        (lambda a, b: (_agreement(a, b) - _by_chance(a, b)) / _by_chance(a, b), "Divide by `1 - p_e`, not by `p_e`."),
        (lambda a, b: 2 * _agreement(a, b) - 1, "This takes chance for one half. It is one half only where a reader says both words equally often: count."),
        (_one_word, "By chance they can agree on *both* words: both say 1, or both say 0. Add the two."),
        (_pooled, "This gives both readers one common habit (that is Scott's pi). Cohen lets each reader have their own."),
        (lambda a, b: float(np.corrcoef(a, b)[0, 1]), "This is the correlation: it forgives a reader who says 1 more often than the other. Kappa does not."),
    ],
)  # fmt: skip

Question(
    "readers.fooled",
    text="A reader is right on 7 of 12 pictures, half of which were generated: the 95% interval reaches from 32% to 81%. What "
    "has been shown?",
    choices=[
        "the generated pictures cannot be told from real ones",
        "the reader sees a difference: 58% is more than half",
        "little: a reader who guesses and one who is right 8 times in 10 both fit",
        "the generated pictures are fit for training other networks",
    ],
    answer="c",
    explanation="That a difference was not found is no proof that there is none. The number of pictures decides what can be found.",
    wrong={
        "a": "Which true shares lie in the interval? Would you call 80% 'cannot be told'?",
        "b": "Where does one half lie: in the interval or outside?",
        "d": "Nobody trained anything. To look real and to carry the right anatomy are two questions.",
    },
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- healthy


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


# ---------------------------------------------------------------------------------------------------- limits


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


# ---------------------------------------------------------------------------------------------------- applications

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
