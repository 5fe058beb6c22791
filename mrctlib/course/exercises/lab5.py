"""Exercises and questions of the lab on conditional GANs: saying what is wanted, and measuring what was got."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.course.networks.conditional import projection
from mrctlib.losses import NON_SATURATING

# ---------------------------------------------------------------------------------------------------- saying it


def one_hot(classes: Tensor, count: int) -> Tensor:
    """Classes (N,) to (N, count): 1 at the class, 0 elsewhere, as floats."""
    return F.one_hot(classes, count).float()


Exercise(
    "conditional.one_hot",
    reference=one_hot,
    inputs=lambda: (torch.tensor([3, 0, 3, 5, 1])[torch.randperm(5)], 7),
    wrong=[
        (lambda classes, count: F.one_hot(classes, count), "Right, but whole numbers: a network multiplies floats, so add `.float()`."),
        (lambda classes, count: F.one_hot(classes).float(), "The width must not depend on the batch: give `count` to `F.one_hot`."),
        (lambda classes, count: classes[:, None].expand(-1, count).float(), "That writes the number of the class everywhere, as if a 6 were twice a 3."),
        (lambda classes, count: F.one_hot(classes, count).float().T, "Turned over: a row for each example, a column for each class."),
        (lambda classes, count: 1 - F.one_hot(classes, count).float(), "That is 0 at the class and 1 elsewhere."),
        (lambda classes, count: F.one_hot(classes, count).float() * 2 - 1, "That is -1 elsewhere. Take 0, so that the classes not asked for add nothing."),
        (lambda classes, count: classes[:, None].float() / count, "One number for all classes says that they lie in a row. Give each a place of its own."),
    ],
)  # fmt: skip


def condition_planes(conditions: Tensor, size: int) -> Tensor:
    """Conditions (N, C) to (N, C, size, size): each number painted over a plane of its own. Mirza and Osindero 2014."""
    return conditions[:, :, None, None].expand(-1, -1, size, size)


Exercise(
    "conditional.condition_planes",
    reference=condition_planes,
    inputs=lambda: (torch.randn(3, 4), 5),
    wrong=[
        (lambda conditions, size: conditions[:, :, None, None], "One pixel for each number: spread it over size x size with `expand`."),
        (lambda conditions, size: conditions[:, None, None, :].expand(-1, size, size, -1), "Channels come second in PyTorch: (N, C, size, size)."),
        (lambda conditions, size: conditions.T[:, :, None, None].expand(-1, -1, size, size), "Examples come first, then conditions: do not transpose."),
        (lambda conditions, size: conditions.repeat(1, size**2).view(len(conditions), -1, size, size), "The numbers are mixed within a plane: each plane should be flat. Add two axes, then `expand`."),
        (lambda conditions, size: conditions.sum(1)[:, None, None, None].expand(-1, 1, size, size), "A plane for each number, not one plane for their sum."),
        (lambda conditions, size: conditions[:, :, None, None].expand(-1, -1, size, size) / size**2, "The number itself at every pixel: do not share it out."),
    ],
)  # fmt: skip

Question(
    "conditional.input_channels",
    text="Grey images and the digit as one-hot planes: how many channels enter the discriminator?",
    answer=11,
    unit="channels",
    explanation="One of the image, ten of the condition, nine of which are 0 everywhere.",
    wrong={
        10: "The image has a channel too.",
        2: "That is so with one learned picture for the class. One-hot planes are one for each class.",
        20: "The image is one channel: it is not repeated for each class.",
    },
)

Exercise(
    "conditional.projection",
    reference=projection,
    inputs=lambda: (torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)),
    wrong=[
        (lambda features, told: features @ told.T, "That compares every image with every condition: only pairs in the same row belong together."),
        (lambda features, told: features * told, "Add up over the features: one score for each image."),
        (lambda features, told: (features * told).sum(), "One score for each image: sum over the features only."),
        (lambda features, told: (features * told).sum(0), "That sums over the images: the features are dimension 1."),
        (lambda features, told: (features * told).mean(1), "The sum, not the mean."),
        (lambda features, told: F.cosine_similarity(features, told), "The lengths count: no normalising."),
        (lambda features, told: (features + told).sum(1), "A sum cannot say that features and condition *fit*: multiply."),
        (lambda features, told: (features.detach() * told).sum(1), "The values are right, but no gradient reaches the features: no `detach`."),
    ],
)  # fmt: skip

Question(
    "conditional.told_and_added",
    text="Suppose the discriminator's score were `f(image) + h(condition)`, added instead of multiplied. What would the "
    "generator learn about the condition?",
    choices=["to obey it", "nothing at all", "to obey it, but more slowly", "to do the opposite"],
    answer="b",
    explanation="The slope of the score with respect to the image is the same for every condition, so a three is as good as a "
    "seven whatever was asked for. Image and condition must meet in a product or in a non-linear layer.",
    wrong={
        "a": "Would it lose any score by drawing a three where a seven was asked for?",
        "c": "Look at the slope of the score with respect to the image: where is the condition in it?",
        "d": "Would the score reward the opposite?",
    },
)

# ---------------------------------------------------------------------------------------------------- the game


def conditional_losses(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, conditions: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses of (discriminator, generator) on one batch; the discriminator's has no way back into the generator.

    Real images (N, ...) come with their own conditions (N, C), and fakes are made for, and judged with, the same.
    """
    fake = generator(noise, conditions)
    scores = discriminator(real, conditions), discriminator(fake.detach(), conditions)
    return NON_SATURATING.discriminator(*scores), NON_SATURATING.generator(discriminator(fake, conditions))


class _ToyGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2 + 3, 4)

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        return self.layer(torch.cat([noise, conditions], 1)).tanh()


class _ToyDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.condition = nn.Linear(4, 6), nn.Linear(3, 6)

    def forward(self, images: Tensor, conditions: Tensor) -> Tensor:
        return projection(self.image(images), self.condition(conditions))


def _toy_game() -> tuple:
    conditions = one_hot(torch.tensor([0, 1, 2, 1, 0, 2]), 3)
    return _ToyGenerator(), _ToyDiscriminator(), torch.randn(6, 4), conditions, torch.randn(6, 2)


def _losses_with(real_told, made_with, fake_told, d_detach=True, g_told=None, g_detach=False):
    """The same with parts changed: each of the first three says which conditions are used where."""

    def losses(generator, discriminator, real, conditions, noise):
        fake = generator(noise, made_with(conditions))
        held = fake.detach() if d_detach else fake
        judged = fake.detach() if g_detach else fake
        scores = discriminator(real, real_told(conditions)), discriminator(held, fake_told(conditions))
        own = discriminator(judged, (g_told or fake_told)(conditions))
        return NON_SATURATING.discriminator(*scores), NON_SATURATING.generator(own)

    return losses


def _same(conditions: Tensor) -> Tensor:
    return conditions


def _others(conditions: Tensor) -> Tensor:
    return conditions.roll(1, 0)


def _swapped(generator, discriminator, real, conditions, noise):
    fake = generator(noise, conditions)
    scores = discriminator(fake.detach(), conditions), discriminator(real, conditions)
    return NON_SATURATING.discriminator(*scores), NON_SATURATING.generator(discriminator(fake, conditions))


def _opposed(generator, discriminator, real, conditions, noise):
    game, _ = conditional_losses(generator, discriminator, real, conditions, noise)
    return game, F.softplus(discriminator(generator(noise, conditions), conditions)).mean()


def _turned(generator, discriminator, real, conditions, noise):
    return conditional_losses(generator, discriminator, real, conditions, noise)[::-1]


Exercise(
    "conditional.losses",
    reference=conditional_losses,
    inputs=_toy_game,
    wrong=[
        (_losses_with(_same, _same, _others), "The fakes were made for some conditions and judged with others: the generator can only learn to ignore what it is told."),
        (_losses_with(_others, _same, _same), "The real images got the conditions of others: the discriminator learns that a condition says nothing."),
        (_losses_with(_same, _others, _same), "The generator was told other conditions than the discriminator."),
        (_losses_with(_same, _same, torch.zeros_like), "The fakes are judged with an empty condition: the discriminator then knows them by that, without looking at them."),
        (_losses_with(_same, torch.zeros_like, _same), "The generator is not told the condition."),
        (_losses_with(_same, _same, _same, d_detach=False), "The values are right, but the discriminator's loss also moves the generator: `fake.detach()` there."),
        (_losses_with(_same, _same, _same, g_detach=True), "The generator's loss has no path to the generator: no `detach` there."),
        (_losses_with(_same, _same, _same, g_told=_others), "The generator's loss looks at its fakes with the conditions of others."),
        (_swapped, "Real and fake are swapped in the discriminator's loss: the scores of real come first."),
        (_opposed, "The generator wants its fakes to be called real: `NON_SATURATING.generator`."),
        (_turned, "The order: the discriminator's loss first."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- measuring it


def control(asked: Tensor, seen: Tensor) -> float:
    """Share of the images, 0 to 1, in which the class that was asked for (N,) is the class that is seen (N,)."""
    return float((asked == seen).float().mean())


def _asked_and_seen() -> tuple[Tensor, Tensor]:
    asked = torch.randint(10, (17,))
    return asked, torch.where(torch.rand(17) < 0.6, asked, torch.randint(10, (17,)))


Exercise(
    "conditional.control",
    reference=control,
    inputs=_asked_and_seen,
    wrong=[
        (lambda asked, seen: float((asked != seen).float().mean()), "That is the share of mistakes."),
        (lambda asked, seen: float((asked == seen).sum()), "That is how many: divide by the number of images."),
        (lambda asked, seen: float((asked - seen).abs().float().mean()), "Classes are names: a 3 taken for an 8 is no worse than one taken for a 4. Count what agrees."),
        (lambda asked, seen: float((asked.bincount(minlength=10) == seen.bincount(minlength=10)).float().mean()), "That compares how often each class occurs. Compare image by image."),
    ],
)  # fmt: skip

Question(
    "conditional.control_by_chance",
    text="A generator ignores what it is told and draws all ten digits equally often. All ten are asked for equally often. How "
    "many percent will the control be?",
    answer=10,
    unit="percent",
    tolerance=0.01,
    explanation="So that is the baseline, not 0.",
    wrong={0: "It gets it right by luck now and then.", 50: "There are ten digits, not two.", 1: "The asked one may be any: it is one in ten, not one in a hundred."},
)  # fmt: skip

Question(
    "conditional.judge_limit",
    text="The judge is right on 99% of real digits, and sees the digit that was asked for in 99.5% of the fakes. Are the fakes "
    "better than real digits?",
    choices=[
        "yes, they are easier to read, so they are better",
        "no: easy to read is not the same as real: the odd ones may be missing",
        "no, the judge must be wrong",
        "yes, since the generator has learned from many digits",
    ],
    answer="b",
    explanation="Control says that one got what one asked for. It does not say that the fakes are as varied as real ones: that "
    "is what coverage is for.",
    wrong={
        "a": "What happened to the digits that are hard to read?",
        "c": "It may be right on every one of them. What does it not look at?",
        "d": "Then it should also draw the ones that are hard to read.",
    },
)

# ---------------------------------------------------------------------------------------------------- slant


def slant(images: Tensor) -> Tensor:
    """How far strokes lean, (N,), of ink (N, 1, H, W): columns to the right for each row up; 0 is upright.

    From the moments of the ink about its middle: minus the covariance of column and row over the variance of the row
    (rows count downwards). Shearing the image by that much makes the covariance 0.
    """
    ink = images[:, 0] / images.sum((1, 2, 3))[:, None, None].clamp(min=1e-6)
    rows = torch.arange(images.shape[2], device=images.device)[:, None] * torch.ones_like(ink)
    columns = torch.arange(images.shape[3], device=images.device) * torch.ones_like(ink)
    down = rows - (ink * rows).sum((1, 2), keepdim=True)
    right = columns - (ink * columns).sum((1, 2), keepdim=True)
    return -(ink * down * right).sum((1, 2)) / (ink * down**2).sum((1, 2)).clamp(min=1e-6)


def _inked() -> Tensor:
    """A leaning bar of uneven ink, off the middle."""
    rows, columns = torch.arange(12.0)[:, None], torch.arange(9.0)
    lean = torch.linspace(-0.4, 0.5, 3)[:, None, None] + 0.1 * torch.rand(3, 1, 1)
    bar = (1.5 - (columns - 6 + lean * (rows - 4)).abs()).clamp(0, 1) * (rows < 9)
    return (bar * (0.3 + 0.7 * torch.rand(3, 12, 9)))[:, None]


def _moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(covariance of row and column, variance of the row, variance of the column), each (N,)."""
    ink = images[:, 0] / images.sum((1, 2, 3))[:, None, None]
    rows, columns = torch.arange(images.shape[2])[:, None], torch.arange(images.shape[3])[None]
    down = rows - (ink * rows).sum((1, 2), keepdim=True)
    right = columns - (ink * columns).sum((1, 2), keepdim=True)
    return tuple((ink * part).sum((1, 2)) for part in (down * right, down**2, right**2))


def _about_the_middle_of_the_image(images: Tensor) -> Tensor:
    rows = torch.arange(images.shape[2])[:, None] - (images.shape[2] - 1) / 2
    columns = torch.arange(images.shape[3]) - (images.shape[3] - 1) / 2
    return -(images[:, 0] * rows * columns).sum((1, 2)) / (images[:, 0] * rows**2).sum((1, 2))


Exercise(
    "conditional.slant",
    reference=slant,
    inputs=_inked,
    wrong=[
        (lambda images: -slant(images), "The sign: rows count downwards, so a stroke that leans to the right goes left as rows go down."),
        (lambda images: -_moments(images)[0] / _moments(images)[2], "Divide by the variance of the row, not of the column: how far right for each row up."),
        (lambda images: -_moments(images)[0], "That depends on how tall the digit is: divide by the variance of the row."),
        (lambda images: -_moments(images)[0] / (_moments(images)[1] * _moments(images)[2]).sqrt(), "That is the correlation: it depends on how wide the digit is. Divide by the variance of the row alone."),
        (_about_the_middle_of_the_image, "Moments about the middle of the *ink*: first find its mean row and mean column."),
        (lambda images: slant((images > 0).float()), "Each pixel counts by its ink: do not make it black and white first."),
        (lambda images: slant(images).mean(), "One slant for each image: sum over rows and columns only."),
        (lambda images: torch.atan(slant(images)), "That is the angle: asked for is how far right for each row up."),
    ],
)  # fmt: skip

Question(
    "conditional.mean_slant",
    text="A generator was asked for slants with a standard deviation of 0.2, and always draws the mean slant. What is "
    "its root mean squared error?",
    answer=0.2,
    tolerance=0.005,
    explanation="An error means something only beside this baseline, which asks for nothing and looks at nothing.",
    wrong={0: "Only for those who asked for the mean.", 0.04: "That is the variance: take the root.", 0.4: "Each error is the distance of the slant asked for from the mean: the root of their mean square is the standard deviation itself."},
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- thickness


def thickness(images: Tensor) -> Tensor:
    """How thick strokes are, (N,), in pixels, of ink (N, 1, H, W): twice the ink over the length of its outline.

    A long bar of width w and length l has ink w l and an outline of nearly 2 l. The outline is the sum over pixels of
    the length of the gradient, so grey edges count by how steep they are. Outside the image there is no ink.
    """
    right, down = _differences(images)
    outline = (right**2 + down**2).sqrt().sum((1, 2, 3))
    return 2 * images.sum((1, 2, 3)) / outline.clamp(min=1e-6)


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """To the next pixel to the right and to the next one below, each (N, 1, H + 1, W + 1), with no ink outside."""
    ink = F.pad(images, (1, 1, 1, 1))
    here = ink[..., :-1, :-1]
    return ink[..., :-1, 1:] - here, ink[..., 1:, :-1] - here


def _outline_by(length: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Thickness with another idea of how long the gradient is."""
    return lambda images: 2 * images.sum((1, 2, 3)) / length(*_differences(images)).sum((1, 2, 3))


Exercise(
    "conditional.thickness",
    reference=thickness,
    inputs=_inked,
    wrong=[
        (lambda images: thickness(images) / 2, "A stroke has two sides, so its outline is twice as long as it is: take the ink twice."),
        (lambda images: 4 / thickness(images), "Upside down: the ink over the outline."),
        (lambda images: images.sum((1, 2, 3)), "That is the ink: a long thin stroke has as much as a short thick one. Divide by the outline."),
        (lambda images: images.mean((1, 2, 3)), "That is the mean grey value: a long thin stroke has as much ink as a short thick one."),
        (_outline_by(lambda right, down: right.abs() + down.abs()), "Across and down added: that makes slanted outlines too long. Take the root of the sum of squares at each pixel."),
        (_outline_by(lambda right, down: right**2 + down**2), "The root is missing: the length of the gradient, not its square."),
        (lambda images: thickness((images > 0.5).float()), "Each pixel counts by its ink: do not make it black and white first."),
        (lambda images: thickness(images).mean(), "One thickness for each image: sum over rows and columns only."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- augmentation

Question(
    "conditional.where_from",
    text="A GAN is trained on 40 slices, then makes 400. A classifier learns from these and the 40. Which information about "
    "tumours has it that the 40 do not have?",
    choices=[
        "that of 400 more slices",
        "none: all comes from the 40, and from what GANs are inclined to draw",
        "that of the discriminator",
        "ten times as much",
    ],
    answer="b",
    explanation="It may still help, as turning images round helps: by what is built in (smoothness, what noise may change). "
    "It can also hurt, by what the generator gets wrong.",
    wrong={
        "a": "From whom would that information come?",
        "c": "The discriminator has seen the same 40.",
        "d": "Ten times as many images are not ten times as many patients.",
    },
)

Question(
    "conditional.fair_test",
    text="A GAN was trained on *all* slices, test patients included. Its fakes are added to a small training set, and the "
    "classifier improves on the test patients. What does this show?",
    choices=[
        "that fakes help",
        "nothing: the test patients leaked into the training through the generator",
        "that the small training set was too small",
        "that the GAN is good",
    ],
    answer="b",
    explanation="A generator can carry whatever it was trained on. The split by patient comes before the GAN.",
    wrong={
        "a": "Whose pictures are the fakes like?",
        "c": "It may have been, but can this test tell?",
        "d": "It may have learned its examples by heart.",
    },
)
