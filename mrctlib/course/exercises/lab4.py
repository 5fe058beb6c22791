"""Exercises and questions of the lab on histology: stains, labels, honest numbers, and tissue made from noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.course.fidelity import normal_frechet_distance
from mrctlib.course.histology import CENTRE, SIZE, STAINS, beer_lambert, optical_density
from mrctlib.losses import cross_entropy_gan

# ---------------------------------------------------------------------------------------------------- the label


def central_tumour(tumour: Tensor) -> Tensor:
    """Masks of tumour (N, 96, 96) to classes (N,): 1 if there is any in the central 32 x 32 pixels, else 0."""
    return tumour[:, CENTRE, CENTRE].flatten(1).any(1).long()


def _masks() -> Tensor:
    """A few pixels of the centre; all around it; the left edge; its lower right; most of it; its middle."""
    masks = torch.zeros(6, SIZE, SIZE, dtype=torch.bool)
    row = int(torch.randint(34, 40, ()))
    masks[0, row : row + 3, 34:38] = True
    masks[1] = True
    masks[1, 30:66, 30:66] = False
    masks[2, :, :20] = True
    masks[3, 64:80, 64:80] = True
    masks[4, 30:58, 30:66] = True
    masks[4, 46:51, 46:51] = False
    masks[5, 47:50, 47:50] = True
    return masks


Exercise(
    "histology.central_tumour",
    reference=central_tumour,
    inputs=_masks,
    wrong=[
        (lambda tumour: tumour.flatten(1).any(1).long(), "Tumour outside the central 32 x 32 pixels does not count."),
        (lambda tumour: tumour[:, CENTRE, CENTRE].flatten(1).all(1).long(), "One pixel is enough: `any`, not `all`."),
        (lambda tumour: (tumour[:, CENTRE, CENTRE].float().mean((1, 2)) > 0.5).long(), "One pixel is enough: it need not be the larger part."),
        (lambda tumour: tumour[:, 48, 48].long(), "The whole central square counts, not only its middle."),
        (lambda tumour: tumour[:, 32:65, 32:65].flatten(1).any(1).long(), "32 pixels from 32 on are `32:64`: Python leaves the end out."),
        (lambda tumour: tumour[:, :32, :32].flatten(1).any(1).long(), "These are the first 32 pixels, in the corner: begin at 32."),
        (lambda tumour: tumour[:, 24:72, 24:72].flatten(1).any(1).long(), "That is half the width: the centre is a third of it, from 32 to 64."),
        (lambda tumour: tumour[:, CENTRE, CENTRE].any().long(), "One label for each patch: do not look over the whole batch at once."),
        (lambda tumour: tumour[:, CENTRE, CENTRE].flatten(1).any(1), "Right, but as True and False: classes are whole numbers, `.long()`."),
    ],
)  # fmt: skip

Question(
    "histology.tumour_at_the_edge",
    text="A patch is full of tumour, except for its central 32 x 32 pixels. What is its label?",
    choices=["1: there is tumour", "0: there is none in the centre", "8/9: the share of its area", "it has none"],
    answer="b",
    explanation="The rim is context that a network may look at, and must learn not to count.",
    wrong={"a": "Only the centre counts: read the rule again.", "c": "Labels are 0 or 1, and only the centre counts."},
)

# ---------------------------------------------------------------------------------------------------- light and stain

Exercise(
    "histology.optical_density",
    reference=optical_density,
    inputs=lambda: torch.rand(2, 3, 4, 5) * 0.9 + 0.05,
    wrong=[
        (lambda images: images.log10(), "The sign: less light means more stain."),
        (lambda images: -images.log(), "That is the natural logarithm: a tenth of the light should give 1."),
        (lambda images: images.log(), "The sign is wrong, and it should be the logarithm to base 10."),
        (lambda images: -images.log2(), "That is the logarithm to base 2: a tenth of the light should give 1."),
        (lambda images: 1 - images, "That is what is taken away. Two layers of stain take away a share of a share: a logarithm adds them up."),
        (lambda images: 1 / images, "Close: take the logarithm of it."),
    ],
)  # fmt: skip


def _mixed(amounts: Tensor, stains: Tensor) -> Tensor:
    return torch.einsum("nshw,sc->nchw", amounts, stains)


Exercise(
    "histology.beer_lambert",
    reference=beer_lambert,
    inputs=lambda: (torch.rand(2, 2, 4, 5), STAINS + 0.1 * torch.rand(2, 3)),
    wrong=[
        (_mixed, "This is the absorbance. The light that is left is 10 to the power of minus that."),
        (lambda amounts, stains: 10 ** _mixed(amounts, stains), "More stain lets less light through: the sign of the power."),
        (lambda amounts, stains: torch.exp(-_mixed(amounts, stains)), "Powers of 10, since absorbance 1 leaves a tenth."),
        (lambda amounts, stains: 1 - _mixed(amounts, stains), "Light is multiplied away, not subtracted: a power."),
        (lambda amounts, stains: 1 - 10 ** -_mixed(amounts, stains), "This is the light that is lost, not the light that is left."),
        (lambda amounts, stains: torch.einsum("nshw,sc->nchw", 10**-amounts, stains), "First mix the absorbances, then take the power."),
        (lambda amounts, stains: 10 ** -_mixed(amounts.flip(1), stains), "The stains are the wrong way round."),
    ],
)  # fmt: skip

Question(
    "histology.two_layers",
    text="One layer of stain lets 20 percent of red light through. How many percent do two such layers let through?",
    answer=4,
    unit="percent",
    tolerance=0.01,
    explanation="A fifth of a fifth. Absorbances add up (0.7 + 0.7), light multiplies.",
    wrong={10: "The second layer does not halve: it leaves 20 percent of what reaches it.", 0: "It never becomes 0.", 40: "More stain, less light."},
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- a baseline


def colour_histogram(images: Tensor, bins: int) -> Tensor:
    """Images (N, 3, H, W) from 0 to 1 to (N, 3 bins): for each channel, the share of pixels in each of the bins."""
    which = (images * bins).long().clamp(max=bins - 1)  # 1 itself belongs to the last bin
    return torch.stack([(which == number).float().mean((2, 3)) for number in range(bins)], dim=-1).flatten(1)


def _histogram_of_all(images: Tensor, bins: int) -> Tensor:
    which = (images * bins).long().clamp(max=bins - 1)
    return F.one_hot(which.flatten(1), bins).float().mean(1)


Exercise(
    "histology.colour_histogram",
    reference=colour_histogram,
    # Channels that differ, and some pixels that are fully white.
    inputs=lambda: ((torch.rand(2, 3, 4, 5) * torch.tensor([0.5, 0.8, 1.2])[:, None, None]).clamp(max=1), 4),
    wrong=[
        (lambda images, bins: 4 * 5 * colour_histogram(images, bins), "These are counts: divide by the number of pixels."),
        (_histogram_of_all, "Each channel has a histogram of its own: here red, green and blue are in one."),
        (lambda images, bins: colour_histogram(images, bins).unflatten(1, (3, bins)), "Right, but in three rows: put them one after the other, (N, 3 bins)."),
        (lambda images, bins: colour_histogram(images, bins).unflatten(1, (3, bins)).transpose(1, 2).flatten(1), "All bins of red first, then those of green, then those of blue."),
        (lambda images, bins: colour_histogram(images, bins).mean(0, keepdim=True), "One histogram for each image, not one for the batch."),
        (lambda images, bins: F.one_hot((images * bins).long().flatten(2), bins + 1)[..., :bins].float().mean(2).flatten(1), "White pixels (1.0) are lost: they belong to the last bin."),
        (lambda images, bins: F.one_hot((images * (bins - 1)).round().long().flatten(2), bins).float().mean(2).flatten(1), "The bins should be equally wide: multiply by `bins` and round down."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- honest numbers


def auc(scores: Tensor, classes: Tensor) -> float:
    """Area under the ROC curve, 0 to 1, of scores (N,) and classes (N,).

    How often a random positive is ranked above a random negative; a tie counts half (Hanley and McNeil 1982).
    """
    positive, negative = scores[classes == 1][:, None], scores[classes == 0]
    return float((positive > negative).float().mean() + (positive == negative).float().mean() / 2)


def _scores() -> tuple[Tensor, Tensor]:
    """Scores with ties, better than chance, and more negatives than positives."""
    classes = torch.tensor([0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0])
    scores = 0.2 * classes + torch.rand(16) * 0.7
    return (scores * 10).round() / 10, classes


def _strictly_above(scores: Tensor, classes: Tensor) -> float:
    return float((scores[classes == 1][:, None] > scores[classes == 0]).float().mean())


Exercise(
    "histology.auc",
    reference=auc,
    inputs=_scores,
    wrong=[
        (_strictly_above, "A tie counts half; here it counts nothing."),
        (lambda scores, classes: float((scores[classes == 1][:, None] >= scores[classes == 0]).float().mean()), "A tie counts half; here it counts in full."),
        (lambda scores, classes: 1 - auc(scores, classes), "The other way round: positives should be ranked above negatives."),
        (lambda scores, classes: ((scores > 0.5).long() == classes).float().mean().item(), "This is the accuracy at the threshold 0.5: AUC looks at all pairs and needs no threshold."),
        (lambda scores, classes: 2 * auc(scores, classes) - 1, "This is 0 at chance (Gini's coefficient): AUC is 0.5 there."),
        (lambda scores, classes: (scores[classes == 1].mean() - scores[classes == 0].mean()).item(), "Only the order counts, not how far scores lie apart."),
    ],
)  # fmt: skip

Question(
    "histology.auc_of_constant",
    text="A model gives every patch the same score. What is its AUC?",
    answer=0.5,
    tolerance=1e-6,
    explanation="Every pair is a tie, and a tie counts half. That is chance, whatever the share of tumour.",
    wrong={0: "Every pair is a tie, and a tie counts half.", 1: "Nothing is ranked: every pair is a tie."},
)


def bootstrap_interval(scores: Tensor, classes: Tensor, draws: Tensor) -> tuple[float, float]:
    """95% interval of the AUC: the 2.5th and 97.5th percentile over draws (B, N) of N patches with replacement.

    scores, classes: (N,). Efron 1979.
    """
    resampled = torch.tensor([auc(scores[draw], classes[draw]) for draw in draws])
    low, high = resampled.quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def _quantiles(scores: Tensor, classes: Tensor, draws: Tensor, levels: tuple[float, float]) -> tuple[float, float]:
    return tuple(
        torch.tensor([auc(scores[draw], classes[draw]) for draw in draws]).quantile(torch.tensor(levels)).tolist()
    )


def _bell_interval(scores: Tensor, classes: Tensor, draws: Tensor) -> tuple[float, float]:
    resampled = torch.tensor([auc(scores[draw], classes[draw]) for draw in draws])
    return float(resampled.mean() - 1.96 * resampled.std()), float(resampled.mean() + 1.96 * resampled.std())


def _unpaired(scores: Tensor, classes: Tensor, draws: Tensor) -> tuple[float, float]:
    values = torch.tensor([auc(scores[draw], classes) for draw in draws])
    return tuple(values.quantile(torch.tensor([0.025, 0.975])).tolist())


Exercise(
    "histology.bootstrap_interval",
    reference=bootstrap_interval,
    inputs=lambda: (*_scores(), torch.randint(16, (30, 16))),
    wrong=[
        (lambda s, c, d: _quantiles(s, c, d, (0.05, 0.95)), "5 percent on either side leave 90: for a 95% interval cut off 2.5 on either side."),
        (lambda s, c, d: _quantiles(s, c, d, (0.0, 1.0)), "These are the smallest and the largest: one odd draw should not decide."),
        (lambda s, c, d: _quantiles(s, c, d, (0.025, 0.975))[::-1], "First the lower end, then the upper one."),
        (lambda s, c, d: _quantiles(s, c, d, (0.25, 0.75)), "These are the quartiles, 25 and 75 percent: take 2.5 and 97.5."),
        (_bell_interval, "This supposes a bell curve; near 1 that can exceed 1. Take percentiles."),
        (_unpaired, "Draw scores and classes together: a patch keeps its own label."),
    ],
)  # fmt: skip


def calibration_error(probabilities: Tensor, classes: Tensor, bins: int = 10) -> float:
    """Expected calibration error, 0 to 1: how far said and seen lie apart in each bin of probability, on average.

    probabilities (N,) of class 1, classes (N,). Bins count by how many patches they hold (Naeini et al. 2015).
    """
    which = (probabilities * bins).long().clamp(max=bins - 1)
    error = 0.0
    for number in which.unique():
        inside = which == number
        gap = probabilities[inside].mean() - classes[inside].float().mean()
        error += float(inside.float().mean() * gap.abs())
    return error


def _gaps(probabilities: Tensor, classes: Tensor, bins: int) -> list[tuple[float, float]]:
    """(share of the patches, said minus seen) of each bin that holds any."""
    which = (probabilities * bins).long().clamp(max=bins - 1)
    return [
        (float((which == b).float().mean()), float((probabilities - classes.float())[which == b].mean()))
        for b in which.unique()
    ]


def _sure_ones_apart(probabilities: Tensor, classes: Tensor, bins: int) -> float:
    which = (probabilities * bins).long()
    gaps = [
        (float((which == b).float().mean()), float((probabilities - classes)[which == b].mean()))
        for b in which.unique()
    ]
    return sum(share * abs(gap) for share, gap in gaps)


def _uneven() -> tuple[Tensor, Tensor, int]:
    """Probabilities that crowd at the low end, classes that are not what they promise, in both directions."""
    probabilities = torch.cat([0.3 * torch.rand(12), 0.6 + 0.4 * torch.rand(5), torch.ones(1)])  # one is quite sure
    return probabilities, (torch.rand(18) < 0.35).long(), 5


Exercise(
    "histology.calibration_error",
    reference=calibration_error,
    inputs=_uneven,
    wrong=[
        (lambda p, c, bins: sum(abs(g) for _, g in _gaps(p, c, bins)) / len(_gaps(p, c, bins)), "Bins count by how many patches they hold: a nearly empty one should count little."),
        (lambda p, c, bins: sum(n * g for n, g in _gaps(p, c, bins)), "Take the absolute value of each gap, or too high and too low cancel."),
        (lambda p, c, bins: sum(n * g**2 for n, g in _gaps(p, c, bins)), "Absolute gaps, not squared ones."),
        (lambda p, c, bins: max(abs(g) for _, g in _gaps(p, c, bins)), "This is the largest gap; the expected error is their weighted mean."),
        (lambda p, c, bins: sum(abs(g) for _, g in _gaps(p, c, bins)), "Weight each gap by the share of the patches in its bin."),
        (_sure_ones_apart, "A probability of exactly 1 has a bin of its own here: it belongs to the last one."),
        (lambda p, c, bins: float((p - c).abs().mean()), "The gap is that of the means in each bin, not of single patches."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- symmetry


def eight_copies(images: Tensor) -> Tensor:
    """(N, C, H, H) to (8, N, C, H, H): turned by 0, 1, 2, 3 quarters, then the same of the left-right mirror image."""
    return torch.stack([torch.rot90(x, k, (-2, -1)) for x in (images, images.flip(-1)) for k in range(4)])


def _turned(images: Tensor, axes: tuple[int, int] = (-2, -1)) -> list[Tensor]:
    return [torch.rot90(images, k, axes) for k in range(4)]


Exercise(
    "histology.eight_copies",
    reference=eight_copies,
    inputs=lambda: torch.rand(2, 3, 4, 4),
    wrong=[
        (lambda images: torch.stack(_turned(images)), "These are the four turns: mirror the image, and turn that four times as well."),
        (lambda images: torch.stack([*_turned(images), *_turned(images)]), "The same four twice: mirror the image in between."),
        (lambda images: torch.stack(_turned(images) + _turned(images.flip(-2))), "This mirrors up and down. That gives the same eight in another order: mirror left and right, `.flip(-1)`."),
        (lambda images: torch.stack([y for x in _turned(images) for y in (x, x.flip(-1))]), "The right eight in another order: first four turns of the image, then four of its mirror image."),
        (lambda images: torch.stack([*_turned(images), *(x.flip(-1) for x in _turned(images))]), "The right eight in another order: mirror first, then turn."),
        (lambda images: torch.stack(_turned(images) + _turned(images.flip((-2, -1)))), "To flip both axes is half a turn, which you have already: flip one."),
        (lambda images: torch.cat(_turned(images) + _turned(images.flip(-1))), "A new first dimension for the copies: `stack`, not `cat`."),
        (lambda images: torch.stack(_turned(images, (-1, -2)) + _turned(images.flip(-1), (-1, -2))), "Turned the other way: `rot90` with the axes (-2, -1)."),
    ],
)  # fmt: skip


def averaged_probability(network: nn.Module, images: Tensor) -> Tensor:
    """Mean probability of tumour, (N,), over the eight copies of images (N, C, H, H); network gives logits (N, 2)."""
    return torch.stack([network(copy).softmax(1)[:, 1] for copy in eight_copies(images)]).mean(0)


def _directed() -> tuple[nn.Module, Tensor]:
    """A network to which directions matter."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(3, 3, 4, 4)


def _mean_over(network: nn.Module, copies: list[Tensor] | Tensor) -> Tensor:
    return torch.stack([network(copy).softmax(1)[:, 1] for copy in copies]).mean(0)


Exercise(
    "histology.averaged_probability",
    reference=averaged_probability,
    inputs=_directed,
    wrong=[
        (lambda network, images: network(images).softmax(1)[:, 1], "This asks about one copy only."),
        (lambda network, images: torch.stack([network(x) for x in eight_copies(images)]).mean(0).softmax(1)[:, 1], "Average probabilities, not logits: softmax comes first."),
        (lambda network, images: network(eight_copies(images).mean(0)).softmax(1)[:, 1], "You average the images, which blurs them: average the answers."),
        (lambda network, images: _mean_over(network, _turned(images)), "These are the four turns: the mirror image has four more."),
        (lambda network, images: 1 - averaged_probability(network, images), "That is the probability of no tumour: class 1 is tumour."),
        (lambda network, images: torch.stack([network(x).softmax(1)[:, 1] for x in eight_copies(images)]).amax(0), "The mean of the eight, not the largest."),
        (lambda network, images: torch.stack([network(x)[:, 1] for x in eight_copies(images)]).mean(0), "These are logits: softmax turns them into probabilities."),
        (lambda network, images: torch.stack([network(x).softmax(1)[:, 1] for x in eight_copies(images)]), "All eight answers: take their mean."),
        (lambda network, images: torch.stack([network(x).softmax(1) for x in eight_copies(images)]).mean(0), "Both classes: only that of tumour is wanted, `[:, 1]`."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- where it looks


def central_share(maps: Tensor) -> Tensor:
    """Maps (N, 1, H, H), none negative, H a multiple of 3, to the share (N,) of each that lies in its central third."""
    third = maps.shape[-1] // 3
    centre = maps[..., third : 2 * third, third : 2 * third]
    return centre.flatten(1).sum(1) / maps.flatten(1).sum(1).clamp(min=1e-12)


Exercise(
    "histology.central_share",
    reference=central_share,
    inputs=lambda: torch.rand(3, 1, 12, 12) + torch.rand(3, 1, 1, 1),
    wrong=[
        (lambda maps: maps[..., 4:8, 4:8].flatten(1).mean(1), "This is the mean in the centre: divide the sum there by the sum everywhere."),
        (lambda maps: maps[..., 4:8, 4:8].flatten(1).mean(1) / maps.flatten(1).mean(1), "A ratio of means is 1 for a flat map: take the ratio of sums, 1/9 there."),
        (lambda maps: maps[..., 4:8, 4:8].flatten(1).sum(1), "Divide by the sum of the whole map."),
        (lambda maps: maps[..., 4:8, :].flatten(1).sum(1) / maps.flatten(1).sum(1), "The central third of the rows and of the columns."),
        (lambda maps: maps[..., 3:9, 3:9].flatten(1).sum(1) / maps.flatten(1).sum(1), "That is half the width: take a third."),
        (lambda maps: (maps[..., 4:8, 4:8].sum() / maps.sum()).expand(len(maps)), "Each map has a share of its own: sum over its pixels, not over the batch."),
        (lambda maps: maps[..., 4:8, 4:8].flatten(1).sum(1) / (maps.flatten(1).sum(1) - maps[..., 4:8, 4:8].flatten(1).sum(1)), "Divide by the sum of all, the centre included."),
    ],
)  # fmt: skip

Question(
    "histology.share_by_chance",
    text="A map is equally bright everywhere. How many percent of it lie in the central 32 x 32 of 96 x 96 pixels?",
    answer=100 / 9,
    unit="percent",
    tolerance=0.2,
    explanation="So one ninth is what a map that knows nothing of the centre gives.",
    wrong={100 / 3: "A third of the width, and a third of the height.", 50: "It is a third of the width, and a third of the height."},
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- leakage

Question(
    "histology.split_by",
    text="100 patients, 3 slides of each, 500 patches of each slide. Which split gives an honest test?",
    choices=["by patch", "by slide", "by patient", "it makes no difference"],
    answer="c",
    explanation="Slides of one patient share tissue, stain and scanner.",
    wrong={
        "a": "Then a network may know a test patch by the colour of its slide.",
        "b": "Better, but another slide of the same patient may be in the training set.",
        "d": "Look at the two numbers above once more.",
    },
)

# ---------------------------------------------------------------------------------------------------- synthesis


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """-log p for real and -log(1 - p) for fake, each averaged, then added; p is the sigmoid of a score (N,)."""
    return cross_entropy_gan(real_scores, True) + cross_entropy_gan(fake_scores, False)


def _two_scores() -> tuple[Tensor, Tensor]:
    return torch.randn(5, requires_grad=True), torch.randn(7, requires_grad=True)


Exercise(
    "histology.discriminator_loss",
    reference=discriminator_loss,
    inputs=_two_scores,
    wrong=[
        (lambda real, fake: cross_entropy_gan(real, False) + cross_entropy_gan(fake, True), "Real and fake are swapped."),
        (lambda real, fake: cross_entropy_gan(real, True), "The fakes are missing."),
        (lambda real, fake: cross_entropy_gan(fake, False), "The real ones are missing."),
        (lambda real, fake: cross_entropy_gan(real, True) + cross_entropy_gan(fake, True), "The discriminator wants fakes to be called fake: -log(1 - p)."),
        (lambda real, fake: (cross_entropy_gan(real, True) + cross_entropy_gan(fake, False)) / 2, "Half as large: add the two means."),
        (lambda real, fake: -(cross_entropy_gan(real, True) + cross_entropy_gan(fake, False)), "A loss is made small: the sign."),
        (lambda real, fake: cross_entropy_gan(real.sigmoid(), True) + cross_entropy_gan(fake.sigmoid(), False), "The sigmoid is applied twice: `softplus` and `with_logits` contain it."),
        (lambda real, fake: F.softplus(torch.cat([-real, fake])).mean(), "One mean over both: take a mean for each, then add."),
        (lambda real, fake: discriminator_loss(real, fake.detach()), "The values are right. `detach` belongs to the caller, who decides what learns from it."),
    ],
)  # fmt: skip


def generator_loss(fake_scores: Tensor) -> Tensor:
    """-log p averaged over the fakes, p the sigmoid of a score (N,): the form that does not saturate."""
    return cross_entropy_gan(fake_scores, True)


Exercise(
    "histology.generator_loss",
    reference=generator_loss,
    inputs=lambda: torch.randn(6, requires_grad=True),
    wrong=[
        (lambda fake: cross_entropy_gan(fake, False), "That is what the discriminator wants: the generator wants its fakes to be called real."),
        (lambda fake: -cross_entropy_gan(fake, False), "This is log(1 - p): right in theory, but its slope vanishes where fakes are bad. Take -log p."),
        (lambda fake: -cross_entropy_gan(fake, True), "A loss is made small: the sign."),
        (lambda fake: -fake.mean(), "That is the loss of a Wasserstein GAN: take -log of the sigmoid."),
        (lambda fake: -fake.sigmoid().mean(), "The logarithm is missing."),
        (lambda fake: cross_entropy_gan(fake.sigmoid(), True), "The sigmoid is applied twice: `softplus` and `with_logits` contain it."),
        (lambda fake: cross_entropy_gan(fake, True) * len(fake), "The mean, not the sum."),
    ],
)  # fmt: skip


def _two_clouds() -> tuple[Tensor, ...]:
    a, b = torch.randn(40, 3).double(), torch.randn(40, 3).double() @ torch.randn(3, 3).double() + 1
    return a.mean(0), a.T.cov(), b.mean(0), b.T.cov()


def _spread(a: Tensor, b: Tensor, factor: float = 2) -> Tensor:
    return a.trace() + b.trace() - factor * torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()


Exercise(
    "histology.frechet_distance",
    reference=normal_frechet_distance,
    inputs=_two_clouds,
    wrong=[
        (lambda m, c, n, d: float((m - n).square().sum()), "That compares the means alone: the spread belongs to it."),
        (lambda m, c, n, d: float(_spread(c, d)), "That compares the spread alone: the squared distance of the means belongs to it."),
        (lambda m, c, n, d: float((m - n).norm() + _spread(c, d)), "The distance of the means is squared."),
        (lambda m, c, n, d: float((m - n).square().mean() + _spread(c, d)), "The sum of the squared differences, not their mean."),
        (lambda m, c, n, d: float((m - n).square().sum() + _spread(c, d, 1)), "Twice the root is taken off."),
        (lambda m, c, n, d: float((m - n).square().sum() + c.trace() + d.trace() - 2 * torch.linalg.eigvals(c @ d).real.sum()), "The root of the product is missing."),
        (lambda m, c, n, d: float((m - n).square().sum() + c.trace() + d.trace() - 2 * (c @ d).diagonal().clamp(min=0).sqrt().sum()), "The root of a matrix is not that of each of its numbers: take its eigenvalues."),
        (lambda m, c, n, d: normal_frechet_distance(m, c, n, d) ** 0.5, "The distance is used as it is, without a root."),
    ],
)  # fmt: skip

Question(
    "histology.floor",
    text="Two halves of the real patches are compared, and their Frechet distance is not 0. Why?",
    choices=[
        "the halves are finite samples",
        "the feature network is wrong",
        "real patches are not normally distributed",
        "one half is fake",
    ],
    answer="a",
    explanation="Means and covariances of finite samples differ by chance. No generator can be expected to go below this floor.",
    wrong={
        "b": "The same would happen with any features.",
        "c": "True, but both halves would have the same wrong fit if they were infinite.",
        "d": "Both are real.",
    },
)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The point at t (0 to 1) on the arc from vector a (D,) to b (D,). Shoemake 1985; White 2016 for latent spaces."""
    angle = torch.arccos(F.cosine_similarity(a, b, dim=0))
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


Exercise(
    "histology.slerp",
    reference=slerp,
    inputs=lambda: (torch.randn(6), torch.randn(6), 0.1 + 0.3 * float(torch.rand(()))),
    wrong=[
        (lambda a, b, t: (1 - t) * a + t * b, "This is the straight line: its middle is too short, and a generator has rarely seen such noise."),
        (lambda a, b, t: slerp(b, a, t), "The wrong way round: t = 0 should give a."),
        (lambda a, b, t: slerp(a, b, t) * torch.sin(torch.arccos(F.cosine_similarity(a, b, dim=0))), "Divide by the sine of the whole angle."),
        (lambda a, b, t: F.normalize(slerp(a, b, t), dim=0), "The lengths of a and b matter: do not make the result a unit vector."),
        (lambda a, b, t: slerp(F.normalize(a, dim=0), F.normalize(b, dim=0), t), "Unit vectors serve to find the angle; mix a and b themselves."),
        (lambda a, b, t: (torch.cos((1 - t) * torch.arccos(F.cosine_similarity(a, b, dim=0))) * a + torch.cos(t * torch.arccos(F.cosine_similarity(a, b, dim=0))) * b) / torch.sin(torch.arccos(F.cosine_similarity(a, b, dim=0))), "Sines, not cosines: at t = 0 nothing of b is left."),
    ],
)  # fmt: skip

Question(
    "histology.noise_length",
    text="Noise with 64 normal numbers: about how long is such a vector?",
    answer=8,
    unit="Euclidean length",
    tolerance=0.3,
    explanation="The root of 64: nearly all noise lies near a sphere of radius 8, and next to nothing near 0.",
    wrong={64: "That is its squared length.", 0: "The mean of the vectors is 0, but hardly any single one is near it.", 1: "That is each number's standard deviation."},
)  # fmt: skip
