"""Exercises and questions of the lab on segmentation: overlap, volumes, borders, bent patients, tiles, pix2pix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.losses import cross_entropy_gan

# ---------------------------------------------------------------------------------------------------- cross-entropy


def pixel_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """-log of the probability of the true class, mean over all pixels; scores (N, C, H, W), labels (N, H, W)."""
    return -scores.log_softmax(1).gather(1, labels[:, None]).mean()


def _true_probability(scores: Tensor, labels: Tensor, dimension: int = 1) -> Tensor:
    return scores.softmax(dimension).gather(1, labels[:, None])


Exercise(
    "segmentation.pixel_cross_entropy",
    reference=pixel_cross_entropy,
    # More pixels in one image than in the other would change nothing: all images have the same size.
    inputs=lambda: (2 * torch.randn(2, 4, 5, 6, requires_grad=True), torch.randint(4, (2, 5, 6))),
    wrong=[
        (lambda scores, labels: F.cross_entropy(scores.softmax(1), labels), "The softmax is applied twice: `F.cross_entropy` and `log_softmax` contain it."),
        (lambda scores, labels: -_true_probability(scores, labels).mean(), "The logarithm is missing."),
        (lambda scores, labels: scores.log_softmax(1).gather(1, labels[:, None]).mean(), "A loss is made small: the sign."),
        (lambda scores, labels: pixel_cross_entropy(scores, labels) * labels.numel(), "The mean over the pixels, not the sum."),
        (lambda scores, labels: pixel_cross_entropy(scores, labels) * labels[0].numel(), "The mean over the pixels too, not only over the images."),
        (lambda scores, labels: -_true_probability(scores, labels).mean().log(), "First the logarithm of each pixel, then the mean."),
        (lambda scores, labels: -_true_probability(scores, labels, 3).log().mean(), "The classes are dimension 1: `softmax` over that one."),
        (lambda scores, labels: -scores.gather(1, labels[:, None]).mean(), "These are scores, not yet log-probabilities: `log_softmax(1)`."),
        (lambda scores, labels: pixel_cross_entropy(scores, labels) / scores.shape[1], "Each pixel has one true class: do not average over the classes."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- overlap


def _dice_of(labels: Tensor, predicted: Tensor, index: int) -> Tensor:
    a, b = labels == index, predicted == index
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def mean_dice(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Mean over the classes 1, 2, ... classes - 1 of 2 |A and B| / (|A| + |B|); two label maps of one shape.

    Each class is in at least one of the two.
    """
    return torch.stack([_dice_of(labels, predicted, index) for index in range(1, classes)]).mean()


def _two_maps() -> tuple[Tensor, Tensor, int]:
    """Much background, and a prediction that is right in about 7 of 10 pixels; every class is in both."""
    labels = torch.randint(-3, 4, (2, 8, 9)).clamp(min=0)
    predicted = torch.where(torch.rand(labels.shape) < 0.7, labels, torch.randint(4, labels.shape))
    labels[0, 0, :4] = predicted[0, 0, :4] = torch.arange(4)
    return labels, predicted, 4


def _overlap_over(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    return torch.stack([((labels == c) & (predicted == c)).sum() / ((labels == c) | (predicted == c)).sum() for c in range(1, classes)]).mean()  # fmt: skip


Exercise(
    "segmentation.mean_dice",
    reference=mean_dice,
    inputs=_two_maps,
    wrong=[
        (lambda labels, predicted, classes: torch.stack([_dice_of(labels, predicted, c) for c in range(classes)]).mean(), "The background is in the mean: it is large and easy, and flatters. Begin with class 1."),
        (lambda labels, predicted, classes: (labels == predicted).float().mean(), "This is the share of pixels that are right: most of them are background."),
        (lambda labels, predicted, classes: (labels == predicted)[labels > 0].float().mean(), "This is the share of tissue pixels that are right: a Dice for each class, then their mean."),
        (_overlap_over, "This is the overlap over the union (Jaccard): Dice divides twice the overlap by the sum of the sizes."),
        (lambda labels, predicted, classes: mean_dice(labels, predicted, classes) / 2, "The factor 2 is missing: a perfect map should have 1."),
        (lambda labels, predicted, classes: mean_dice(labels, predicted, classes) * (classes - 1), "The mean over the classes, not the sum."),
        (lambda labels, predicted, classes: mean_dice(labels, predicted, classes) * (classes - 1) / classes, "Divide by the number of classes that you add up: the background is none of them."),
        (lambda labels, predicted, classes: _dice_of((labels > 0).long(), (predicted > 0).long(), 1), "This is the Dice of brain against background: take each class by itself."),
        (lambda labels, predicted, classes: 2 * ((labels == predicted) & (labels > 0)).sum() / ((labels > 0).sum() + (predicted > 0).sum()), "All classes are in one pot, so that the large ones decide: a Dice for each class, then their mean."),
    ],
)  # fmt: skip

Question(
    "segmentation.lazy_accuracy",
    text="Suppose 60 percent of the pixels are background. A network says background everywhere. What is its mean Dice over the tissues?",
    answer=0,
    unit="on a scale from 0 to 1",
    explanation="Its accuracy is 60 percent, and it is of no use: hence Dice, and hence not over the background.",
    wrong={
        0.6: "That is its accuracy. No pixel of any tissue overlaps.",
        0.75: "That is the Dice of the background, 2 * 0.6 / (0.6 + 1), which should not be counted.",
    },
)

# ---------------------------------------------------------------------------------------------------- borders


def border_weights(distance: Tensor, strength: float, width: float) -> Tensor:
    """1 + strength exp(-distance^2 / (2 width^2)): distance in pixels to the nearest pixel of another class."""
    return 1 + strength * torch.exp(-(distance**2) / (2 * width**2))


Exercise(
    "segmentation.border_weights",
    reference=border_weights,
    inputs=lambda: (1 + 6 * torch.rand(2, 5, 6), 4.0, 1.5),
    wrong=[
        (lambda distance, strength, width: strength * torch.exp(-(distance**2) / (2 * width**2)), "The 1 is missing: far from any border a pixel should still count."),
        (lambda distance, strength, width: 1 + torch.exp(-(distance**2) / (2 * width**2)), "The strength is missing."),
        (lambda distance, strength, width: 1 + strength * torch.exp(-(distance**2) / width**2), "Twice the squared width is below the line."),
        (lambda distance, strength, width: 1 + strength * torch.exp(-(distance**2) / (2 * width)), "The width is squared."),
        (lambda distance, strength, width: 1 + strength * torch.exp(-distance / (2 * width**2)), "The distance is squared."),
        (lambda distance, strength, width: 1 + strength * torch.exp(distance**2 / (2 * width**2)), "The sign in the exponent: the weight should fall with the distance."),
        (lambda distance, strength, width: 1 - strength * torch.exp(-(distance**2) / (2 * width**2)), "Borders should count more, not less."),
        (lambda distance, strength, width: strength * (1 + torch.exp(-(distance**2) / (2 * width**2))), "The strength belongs to the border alone, not to the 1."),
    ],
)  # fmt: skip

Question(
    "segmentation.sulcus_weight",
    text="With strength 4, how much does a pixel right on the border (distance 0) count, when one far away counts 1?",
    answer=5,
    unit="times",
    explanation="1 + 4: every pixel counts, and the border four times more on top of it.",
    wrong={4: "The 1 of every pixel comes on top."},
)

# ---------------------------------------------------------------------------------------------------- bent patients


def deform(images: Tensor, labels: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Bend images (N, C, H, W) and labels (N, H, W) by the same displacement (N, 2, H, W) in pixels: down, right.

    The new pixel (row, column) is fetched from (row + down, column + right); from outside comes the nearest border.
    Images are interpolated linearly. Labels are names, not amounts: they come from the nearest pixel.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height)[:, None] + displacement[:, 0]
    columns = torch.arange(width) + displacement[:, 1]
    # grid_sample wants (right, down), from -1 in the middle of the first pixel to 1 in the middle of the last.
    places = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], -1).to(images)
    bent = F.grid_sample(images, places, "bilinear", padding_mode="border", align_corners=True)
    named = F.grid_sample(labels[:, None].to(images), places, "nearest", padding_mode="border", align_corners=True)
    return bent, named[:, 0].to(labels.dtype)


def _bent() -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels 0 and 1 and 3 (so that 2 can only come from blending), and small smooth displacements."""
    labels = torch.tensor([0, 1, 3])[torch.randint(3, (2, 4, 5))].repeat_interleave(3, 1).repeat_interleave(3, 2)
    coarse = 1.2 * torch.randn(2, 2, 3, 3) + torch.tensor([1.0, -0.6])[:, None, None]
    displacement = F.interpolate(coarse, (12, 15), mode="bilinear", align_corners=True)
    return torch.rand(2, 1, 12, 15), labels, displacement


def _bent_by(images: Tensor, displacement: Tensor, mode: str) -> Tensor:
    height, width = images.shape[-2:]
    rows = torch.arange(height)[:, None] + displacement[:, 0]
    columns = torch.arange(width) + displacement[:, 1]
    places = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], -1)
    return F.grid_sample(images, places, mode, padding_mode="border", align_corners=True)


def _labels_bent_by(labels: Tensor, displacement: Tensor, mode: str = "nearest") -> Tensor:
    return _bent_by(labels[:, None].float(), displacement, mode)[:, 0].to(labels.dtype)


Exercise(
    "segmentation.deform",
    reference=deform,
    inputs=_bent,
    wrong=[
        (lambda images, labels, displacement: (deform(images, labels, displacement)[0], _bent_by(labels[:, None].float(), displacement, "bilinear")[:, 0].round().long()), "Labels are blended: halfway between air (0) and white matter (3) is no CSF. Take the nearest pixel."),
        (lambda images, labels, displacement: (deform(images, labels, displacement)[0], _labels_bent_by(labels, displacement, "bilinear")), "Labels are blended, then cut to whole numbers: take the nearest pixel."),
        (lambda images, labels, displacement: (deform(images, labels, displacement)[0], _bent_by(labels[:, None].float(), displacement, "bilinear")[:, 0]), "Labels are blended, so that they are no labels any more: take the nearest pixel."),
        (lambda images, labels, displacement: (deform(images, labels, displacement)[0], labels), "The labels stay where they were: bend them by the same displacement."),
        (lambda images, labels, displacement: (images, deform(images, labels, displacement)[1]), "The images stay where they were: bend them by the same displacement."),
        (lambda images, labels, displacement: (deform(images, labels, displacement)[0], _labels_bent_by(labels, displacement.roll(1, 0))), "Image and labels are bent by different displacements: each label map belongs to its own image."),
        (lambda images, labels, displacement: deform(images, labels, displacement.flip(1)), "Down and right are swapped: `grid_sample` wants (x, y), which is (right, down)."),
        (lambda images, labels, displacement: deform(images, labels, -displacement), "The sign: the new pixel is fetched from row + down, column + right."),
        (lambda images, labels, displacement: (_bent_by(images, displacement, "nearest"), deform(images, labels, displacement)[1]), "Grey values may be blended: the images with `bilinear`, only the labels with `nearest`."),
    ],
)  # fmt: skip

Question(
    "segmentation.honest_augmentation",
    text="Which of these makes training examples that no patient could have?",
    choices=[
        "left and right of the head swapped",
        "a smooth bend of 5 mm",
        "grey values swapped, bright for dark",
        "a little more noise",
    ],
    answer="c",
    explanation="On a T1-weighted MR, CSF is darker than brain: always. An augmentation says what may vary, so it has to be true.",
    wrong={
        "a": "A brain is nearly symmetric, so its mirror image is a credible patient.",
        "b": "Heads differ by more than that.",
        "d": "Some scanners are noisier.",
    },
)

# ---------------------------------------------------------------------------------------------------- volumes


def volumes_ml(labels: Tensor, classes: int, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Volume in ml of classes 1, 2, ... classes - 1, (classes - 1,): labels (S, R, A), spacing in mm along R, A, S."""
    dr, da, ds = spacing_mm
    counts = torch.stack([(labels == index).sum() for index in range(1, classes)])
    return counts * (dr * da * ds / 1000)


Exercise(
    "segmentation.volumes_ml",
    reference=volumes_ml,
    inputs=lambda: (torch.randint(4, (3, 6, 7)), 4, (1.5, 1.25, 8.0)),
    wrong=[
        (lambda labels, classes, spacing: volumes_ml(labels, classes, (1, 1, 1)) * 1000, "These are counts of voxels: multiply by the size of a voxel."),
        (lambda labels, classes, spacing: volumes_ml(labels, classes, spacing) * 1000, "These are cubic millimetres: 1000 of them are 1 ml."),
        (lambda labels, classes, spacing: volumes_ml(labels, classes, spacing) * 10, "These are tenths of millilitres: 1 ml is 10 x 10 x 10 mm, not 100."),
        (lambda labels, classes, spacing: volumes_ml(labels, classes, (*spacing[:2], 10)), "These are areas in square centimetres, added up: the distance from slice to slice is missing."),
        (lambda labels, classes, spacing: volumes_ml(labels, classes, (spacing[0],) * 3), "A voxel is not a cube: multiply its three sides."),
        (lambda labels, classes, spacing: volumes_ml(labels, classes, (spacing[2],) * 3), "Slices are further apart than pixels: multiply the three sides of a voxel."),
        (lambda labels, classes, spacing: torch.stack([(labels == c).sum() for c in range(classes)]) * (spacing[0] * spacing[1] * spacing[2] / 1000), "The background is among them: begin with class 1."),
        (lambda labels, classes, spacing: torch.stack([labels[labels == c].sum() for c in range(1, classes)]) * (spacing[0] * spacing[1] * spacing[2] / 1000), "A label is a name, not an amount: count the voxels that have it."),
        (lambda labels, classes, spacing: volumes_ml(labels, classes, spacing) / len(labels), "The sum over the slices, not their mean."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- distances


def hd95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float]) -> float:
    """95th percentile of the distances in mm from the border of each mask to that of the other. Both hold something.

    a, b: (rows, columns), boolean; spacing: mm of a pixel, down and across. A border pixel is in the mask and has a
    neighbour (of four) that is not; beyond the image nothing is.
    """
    edge_a, edge_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a, b))
    to_a, to_b = (ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in (edge_a, edge_b))
    return float(np.percentile(np.concatenate([to_b[edge_a], to_a[edge_b]]), 95))


def _two_blobs() -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Two random shapes, one with a far speck, on pixels that are not square."""
    rows, columns = np.indices((18, 21))
    middle = torch.randint(5, 12, (4,)).tolist()
    a = np.hypot(rows - middle[0], columns - middle[1]) < 4
    b = np.hypot(rows - middle[2], columns - middle[3]) < 3
    b[0:2, -3:] = True  # at the edge of the image
    return (a, b, (2.0, 3.0)) if torch.rand(()) < 0.5 else (b, a, (2.0, 3.0))


def _distances(
    at: Callable = np.concatenate, take: Callable = lambda d: np.percentile(d, 95), edge: Callable | None = None,
    sampling: Callable = lambda spacing: spacing,
) -> Callable:  # fmt: skip
    def method(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float]) -> float:
        edges = [(edge or (lambda m: m & ~ndimage.binary_erosion(m)))(mask) for mask in (a, b)]
        to_a, to_b = (ndimage.distance_transform_edt(~each, sampling=sampling(spacing)) for each in edges)
        return take(at([to_b[edges[0]], to_a[edges[1]]]))

    return method


def _larger_of_two(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float]) -> float:
    return max(_distances(at=lambda d, way=way: d[way])(a, b, spacing) for way in (0, 1))


Exercise(
    "segmentation.hd95",
    reference=hd95,
    inputs=_two_blobs,
    wrong=[
        (_distances(take=np.max), "This is the largest distance, Hausdorff's own: take the 95th percentile (`np.percentile`)."),
        (_distances(take=np.mean), "This is the mean distance: take the 95th percentile."),
        (_distances(at=lambda d: d[0]), "This goes one way only, from a to b: add the distances from b to a."),
        (_distances(at=lambda d: d[1]), "This goes one way only, from b to a: add the distances from a to b."),
        (_larger_of_two, "This is the larger of two percentiles: put the distances of both ways together first."),
        (_distances(edge=lambda mask: mask), "Distances are measured between *borders*, not between all pixels of the masks."),
        (_distances(sampling=lambda spacing: None), "This counts pixels: give `sampling=spacing`, so that it is mm."),
        (_distances(sampling=lambda spacing: spacing[::-1]), "The two sides of a pixel are exchanged: the spacing is (down, across)."),
        (_distances(edge=lambda m: ndimage.binary_dilation(m) & ~m), "These are the pixels just *outside* the mask: the border is the outermost of its own pixels."),
        (_distances(edge=lambda m: m & ~ndimage.binary_erosion(m, border_value=1)), "Beyond the image nothing is in the mask: a mask that touches the edge has its border there."),
        (_distances(edge=lambda m: m & ~ndimage.binary_erosion(m, np.ones((3, 3)))), "Neighbours are the four beside a pixel, not the diagonal ones."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- prettiness


def border_mm(labels: Tensor, pixel_mm: float) -> Tensor:
    """Length in mm of all borders between classes, (N,): neighbours that differ, times the side of a pixel; labels (N, H, W)."""
    down = (labels[:, 1:] != labels[:, :-1]).sum((1, 2))
    right = (labels[:, :, 1:] != labels[:, :, :-1]).sum((1, 2))
    return (down + right) * pixel_mm


def _unlike_neighbours(labels: Tensor) -> Tensor:
    """Pixels that have a different neighbour above, below, left or right."""
    wide = F.pad(labels[:, None].float(), (1, 1, 1, 1), mode="replicate")[:, 0].long()
    height, width = labels.shape[1:]
    places = ((0, 1), (2, 1), (1, 0), (1, 2))
    return torch.stack([wide[:, r : r + height, c : c + width] != labels for r, c in places]).any(0)


Exercise(
    "segmentation.border_mm",
    reference=border_mm,
    inputs=lambda: (torch.randint(4, (3, 6, 9)), 2.5),
    wrong=[
        (lambda labels, mm: (labels[:, 1:] != labels[:, :-1]).sum((1, 2)) * mm, "These are the borders between pixels one above the other: those side by side are missing."),
        (lambda labels, mm: (labels[:, :, 1:] != labels[:, :, :-1]).sum((1, 2)) * mm, "These are the borders between pixels side by side: those one above the other are missing."),
        (lambda labels, mm: border_mm(labels, 1.0), "This is in pixels: multiply by the side of a pixel."),
        (lambda labels, mm: border_mm(labels, mm**2), "A length, not an area: multiply by the side of a pixel once."),
        (lambda labels, mm: 2 * border_mm(labels, mm), "Each border is counted from both of its sides."),
        (lambda labels, mm: _unlike_neighbours(labels).sum((1, 2)) * mm, "These are pixels at a border: count pairs of neighbours that differ."),
        (lambda labels, mm: ((labels[:, 1:] - labels[:, :-1]).abs().sum((1, 2)) + (labels[:, :, 1:] - labels[:, :, :-1]).abs().sum((1, 2))) * mm, "A label is a name: 3 beside 1 is one border, not two."),
        (lambda labels, mm: border_mm(labels, mm).sum(), "One length for each image: do not add up over the batch."),
        (lambda labels, mm: (labels != labels.roll(1, 1)).sum((1, 2)) * mm + (labels != labels.roll(1, 2)).sum((1, 2)) * mm, "`roll` makes the first row a neighbour of the last: compare `[1:]` with `[:-1]`."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- pix2pix


def generator_loss(scores: Tensor, probabilities: Tensor, truth: Tensor, weight: float) -> Tensor:
    """GAN loss (non-saturating: mean of -log sigmoid(score)) + weight x cross-entropy (mean over the pixels).

    scores: the discriminator's of the fakes, any shape, before a sigmoid; probabilities: the fakes, (N, C, H, W), after
    the softmax; truth: one-hot, the same shape. What pix2pix asks of a generator that paints tissue maps: Isola et al.
    2017, equation 4, with cross-entropy in the place of L1.
    """
    cross_entropy = -(truth * probabilities.clamp(min=1e-6).log()).sum(1).mean()
    return cross_entropy_gan(scores, True) + weight * cross_entropy


def _fakes() -> tuple[Tensor, Tensor, Tensor, float]:
    probabilities = torch.randn(2, 4, 5, 6).softmax(1).requires_grad_()
    truth = F.one_hot(torch.randint(4, (2, 5, 6)), 4).movedim(-1, 1).float()
    return torch.randn(2, 1, 3, 3, requires_grad=True), probabilities, truth, 10.0


def _entropy(probabilities: Tensor, truth: Tensor) -> Tensor:
    return -(truth * probabilities.clamp(min=1e-6).log()).sum(1).mean()


Exercise(
    "segmentation.generator_loss",
    reference=generator_loss,
    inputs=_fakes,
    wrong=[
        (lambda scores, p, truth, weight: weight * _entropy(p, truth), "The adversarial part is missing."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores, True), "The cross-entropy is missing: the map would be credible, and that of anybody."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores, False) + weight * _entropy(p, truth), "That is what the discriminator wants: the generator wants its maps to be called real."),
        (lambda scores, p, truth, weight: weight * cross_entropy_gan(scores, True) + _entropy(p, truth), "The weight belongs to the cross-entropy."),
        (lambda scores, p, truth, weight: weight * (cross_entropy_gan(scores, True) + _entropy(p, truth)), "The weight belongs to the cross-entropy alone."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores, True) + weight * F.cross_entropy(p, truth), "The softmax is applied twice: these are probabilities already, take -log of the true one."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores.sigmoid(), True) + weight * _entropy(p, truth), "The sigmoid is applied twice: `softplus` and `with_logits` contain it."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores, True) + weight * (p - truth).abs().mean(), "That is the L1 of the paper, made for grey values. For classes take the cross-entropy."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores, True) + weight * _entropy(p, truth) / p.shape[1], "Each pixel has one true class: sum over the classes, then the mean over the pixels."),
        (lambda scores, p, truth, weight: cross_entropy_gan(scores, True) - weight * _entropy(p, truth), "A loss is made small: the sign of the cross-entropy."),
        (lambda scores, p, truth, weight: generator_loss(scores, p.detach(), truth, weight), "The values are right, but `detach` keeps the cross-entropy from teaching the generator."),
    ],
)  # fmt: skip

Question(
    "segmentation.tell_apart",
    text="Real maps are one-hot, fakes are probabilities. How can a discriminator tell them apart without any anatomy?",
    choices=[
        "fakes are hardly ever exactly 0 or 1",
        "fakes have another size",
        "real maps are noisier",
        "it cannot",
    ],
    answer="a",
    explanation="So part of its pressure only asks for sure answers, right or wrong. Luc et al. 2016 met this and tried to blur the truth.",
    wrong={
        "b": "Both are (N, 4, 60, 72).",
        "c": "There is no noise in a label.",
        "d": "Print a few numbers of each.",
    },
)

# ---------------------------------------------------------------------------------------------------- tiles

Question(
    "segmentation.margin",
    text="An output of this U-Net looks at 23 pixels on either side, at most. It halves twice. What is the smallest safe margin?",
    answer=24,
    unit="pixels",
    explanation="At least 23, and a multiple of 4, so that each tile is pooled in the same blocks of 4 as the whole image.",
    wrong={
        23: "Wide enough, but then the tile begins in the middle of a block of 4 that is pooled together.",
        47: "That is the width of all that it sees. The margin is one side of it.",
        46: "That is both sides together. The margin is one of them.",
        4: "That keeps the pooling in step, but the margin has to cover what the network sees.",
    },
)

Question(
    "segmentation.tile_norm",
    text="Which layer makes tiles differ from the whole image, however wide the margin?",
    choices=[
        "batch normalisation in evaluation mode",
        "instance normalisation",
        "max pooling",
        "a 1 x 1 convolution",
    ],
    answer="b",
    explanation="It divides by the mean and spread of the tile: every pixel depends on all of the tile, so what it sees has no end.",
    wrong={
        "a": "In evaluation mode its means are fixed numbers: it acts on each pixel alone.",
        "c": "It sees 2 pixels: a margin covers that.",
        "d": "It sees a single pixel.",
    },
)

# ---------------------------------------------------------------------------------------------------- lesions

Question(
    "segmentation.unknown_lesion",
    text="A network knows background, CSF, grey and white matter. What can it say of a stroke?",
    choices=[
        "that it has never seen this",
        "nothing: it leaves the pixels empty",
        "one of its four classes, often with high probability",
        "whatever is most frequent in training",
    ],
    answer="c",
    explanation="The softmax shares out 1 among the classes that there are. There is no place in it for a surprise.",
    wrong={
        "a": "Which of its four outputs would say so?",
        "b": "Every pixel gets the class with the highest score, whatever it is.",
        "d": "It looks at the image: the answer depends on how bright the lesion is.",
    },
)
