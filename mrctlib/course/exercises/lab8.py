"""Exercises and questions of the lab on MR to CT: the references are the library's own functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib import losses
from mrctlib.course.complexity import receptive_field
from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.data.volumes import HU_RANGE


def scale_hu(hu: Tensor) -> Tensor:
    """CT in HU, any shape, clipped to [-1000, 1500] and scaled to [-1, 1]."""
    low, high = HU_RANGE
    return 2 * (hu.clamp(low, high) - low) / (high - low) - 1


Exercise(
    "translation.scale_hu",
    reference=scale_hu,
    inputs=lambda: torch.empty(4, 6).uniform_(-1500, 3000),
    wrong=[
        (
            lambda hu: 2 * (hu + 1000) / 2500 - 1,
            "Metal above 1500 HU and padding below -1000 are not clipped: some values leave [-1, 1].",
        ),
        (lambda hu: (hu.clamp(-1000, 1500) + 1000) / 2500, "This is scaled to [0, 1]; tanh gives [-1, 1]."),
        (
            lambda hu: hu.clamp(-1000, 1500) / 1500,
            "Divide by half the width (1250) about the middle (250), not by 1500.",
        ),
        (
            lambda hu: (hu.clamp(-1000, 1000)) / 1000,
            "Dense bone goes up to 1500 HU here, and the middle is 250, not 0.",
        ),
    ],
)


def _images() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8, requires_grad=True)


Exercise(
    "translation.cycle_consistency",
    reference=losses.cycle_consistency,
    inputs=_images,
    wrong=[
        (lambda a, b: ((a - b) ** 2).mean(), "This is the mean squared difference: the paper takes the absolute one."),
        (lambda a, b: (a - b).mean(), "Differences up and down cancel: take the absolute value first."),
        (
            lambda a, b: (a - b).abs().sum(),
            "This is the sum: divide by the number of pixels, so that size does not matter.",
        ),
        (
            lambda a, b: (a - b.detach()).abs().mean() + 0 * b.sum(),
            "You detached the image that came back: nothing can be learned from it.",
        ),
        (
            lambda a, b: ((a - b) ** 2).mean().sqrt(),
            "This is the root of the mean squared difference: take absolute values.",
        ),
    ],
)


def _scores() -> tuple[Tensor, bool]:
    return torch.randn(2, 1, 4, 4, requires_grad=True), bool(torch.rand(()) < 0.5)


Exercise(
    "translation.least_squares_gan",
    reference=losses.least_squares_gan,
    inputs=_scores,
    wrong=[
        (
            lambda scores, real: losses.cross_entropy_gan(scores, real),
            "This is the cross-entropy: here it is the squared distance.",
        ),
        (
            lambda scores, real: ((scores - float(not real)) ** 2).mean(),
            "Real and fake are swapped: real scores should be 1, fake ones 0.",
        ),
        (
            lambda scores, real: ((scores.sigmoid() - float(real)) ** 2).mean(),
            "No sigmoid: least squares works on the scores as they are.",
        ),
        (lambda scores, real: ((scores - (1.0 if real else -1.0)) ** 2).mean(), "Fakes should score 0, not -1."),
        (lambda scores, real: (scores - float(real)).abs().mean(), "This is the absolute distance: square it."),
    ],
)


def residual_block(x: Tensor, f) -> Tensor:
    """The block's output for features x and a stack of layers f of the same shape."""
    return x + f(x)


Exercise(
    "translation.residual_block",
    reference=residual_block,
    inputs=lambda: (torch.randn(2, 4, 6, 6, requires_grad=True), torch.nn.Conv2d(4, 4, 3, padding=1)),
    wrong=[
        (lambda x, f: f(x), "The input is missing: without it there is no residual."),
        (lambda x, f: torch.relu(x + f(x)), "No ReLU after the sum: in this generator the blocks add up undisturbed."),
        (lambda x, f: x + f(f(x)), "f already holds both convolutions: apply it once."),
        (lambda x, f: x * f(x), "Add the input, do not multiply by it."),
        (lambda x, f: torch.cat([x, f(x)], 1), "This is a dense block's concatenation: a residual block adds."),
    ],
)


def _own_stride_first(layers: list[tuple[int, int]]) -> int:
    size, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        size += (kernel - 1) * step
    return size


Exercise(
    "translation.receptive_field",
    reference=receptive_field,
    inputs=lambda: [(int(torch.randint(3, 6, ())), int(torch.randint(1, 3, ()))) for _ in range(4)] + [(4, 2), (3, 1)],
    wrong=[
        (
            lambda layers: 1 + sum(k - 1 for k, _ in layers),
            "The strides are missing: behind a stride of 2 each step counts double.",
        ),
        (lambda layers: sum(k for k, _ in layers), "Neighbouring kernels overlap: each adds kernel - 1, not kernel."),
        (lambda layers: receptive_field(layers[::-1]), "The layers are taken from last to first."),
        (_own_stride_first, "A layer's own stride counts for the layers after it, not for itself."),
        (
            lambda layers: receptive_field(layers) - 1,
            "Start from 1: with no layers at all, an output is its own pixel.",
        ),
    ],
)


def _descriptor(images: Tensor) -> tuple[Tensor, Tensor]:
    """Squared differences to the four neighbours, averaged over 3x3, and their mean."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    h, w = images.shape[-2:]
    shifted = [padded[..., 1 + a : 1 + a + h, 1 + b : 1 + b + w] for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    distance = F.avg_pool2d(
        torch.cat([(images - s) ** 2 for s in shifted], 1), 3, 1, padding=1, count_include_pad=False
    )
    return distance, distance.mean(1, keepdim=True).clamp(min=1e-4)


def mind_from_distances(distance: Tensor, variation: Tensor) -> Tensor:
    """The descriptor: near 1 for neighbours that look alike, near 0 for those that differ, whatever the contrast."""
    return torch.exp(-distance / variation)


Exercise(
    "translation.mind_from_distances",
    reference=mind_from_distances,
    inputs=lambda: _descriptor(torch.randn(1, 1, 8, 8)),
    wrong=[
        (
            lambda distance, variation: torch.exp(-distance),
            "Divide by the variation: without it strong and weak contrast differ.",
        ),
        (
            lambda distance, variation: torch.exp(distance / variation),
            "The sign is missing: unlike neighbours should come out near 0.",
        ),
        (lambda distance, variation: distance / variation, "The exponential is missing: exp(-distance / variation)."),
        (lambda distance, variation: torch.exp(-distance * variation), "Divide by the variation, do not multiply."),
    ],
)


def objective(gan: Tensor, cycle: Tensor, identity: Tensor, cycle_weight: float, identity_weight: float) -> Tensor:
    """What the two generators minimise, from their three terms (each already summed over both directions)."""
    return gan + cycle_weight * cycle + identity_weight * identity


Exercise(
    "translation.objective",
    reference=objective,
    inputs=lambda: (*(torch.rand((), requires_grad=True) for _ in range(3)), 10.0, 5.0),
    wrong=[
        (lambda g, c, i, wc, wi: g + c + i, "The weights are missing."),
        (lambda g, c, i, wc, wi: g + wi * c + wc * i, "The two weights are swapped."),
        (lambda g, c, i, wc, wi: wc * c + wi * i, "The GAN term is missing: nothing would ask for CT."),
        (lambda g, c, i, wc, wi: g + wc * (c + wi * i), "Each weight belongs to its own term only."),
        (lambda g, c, i, wc, wi: -g + wc * c + wi * i, "The GAN term is a loss already: add it."),
    ],
)


def body_mae(ct: Tensor, sct: Tensor, body: Tensor) -> Tensor:
    """Mean absolute error in HU over the voxels of the body. ct, sct: the same shape; body: bool."""
    return (sct - ct)[body].abs().mean()


Exercise(
    "translation.body_mae",
    reference=body_mae,
    inputs=lambda: (1000 * torch.randn(4, 8, 8), 1000 * torch.randn(4, 8, 8), torch.rand(4, 8, 8) < 0.5),
    wrong=[
        (
            lambda ct, sct, body: (sct - ct).abs().mean(),
            "The air around the body is in it: it is easy, and makes the error look small.",
        ),
        (
            lambda ct, sct, body: ((sct - ct).abs() * body).mean(),
            "The sum is over the body, but you divide by all voxels.",
        ),
        (
            lambda ct, sct, body: (sct - ct)[body].mean().abs(),
            "Errors up and down cancel: take the absolute value before the mean.",
        ),
        (lambda ct, sct, body: ((sct - ct)[body] ** 2).mean().sqrt(), "This is the root mean squared error."),
    ],
)

Question(
    "translation.why_unpaired",
    text="Why not simply train on MR/CT pairs of the same patients?",
    choices=[
        "Pairs exist but never fit: hours, another table and a moved jaw lie between them",
        "Pairs do not exist: nobody is scanned twice",
        "Pairs make a network learn its patients by heart, and it fails on all whom it has not met",
    ],
    answer="a",
    wrong={
        "b": "They exist: radiotherapy patients often have both. Look at what happens between the scans.",
        "c": "A supervised network does better when the pairs fit. The trouble is with the fit.",
    },
    explanation="Registration leaves millimetres, and a supervised network turns millimetres into blur.",
)
Question(
    "translation.bone_and_air",
    text="Cortical bone is nearly as dark as air on MR. How can a network still tell them apart?",
    choices=[
        "From the exact grey value, where the MR has little noise",
        "It cannot",
        "From the surroundings and the place in the head",
    ],
    answer="c",
    wrong={
        "a": "Noise is larger than that difference: both hold almost no signal.",
        "b": "Radiologists can: a dark ring under the scalp is skull, a dark hole behind the nose is air.",
    },
    explanation="That is why a lookup table from grey value to HU fails where it matters, and why context is needed.",
)
Question(
    "translation.patch",
    text="The full-size discriminator has kernels of 4 and strides 2, 2, 2, 1, 1. How wide is the patch that one score sees?",
    answer=70,
    unit="pixels",
    wrong={
        34: "That is one layer of stride 2 less.",
        16: "That is two layers of stride 2 less.",
        142: "That is one layer of stride 2 more.",
        256: "It is not the whole image: count what each layer adds.",
    },
    explanation="1 + 3 + 3*2 + 3*4 + 3*8 + 3*8 = 70: the 70x70 PatchGAN.",
)
Question(
    "translation.pool",
    text="The discriminator is also shown fakes from up to 50 images ago. What for?",
    choices=[
        "To save the time that it takes to make a new fake at every step",
        "So that the generator cannot win by going round in circles",
        "To make the fakes more alike",
    ],
    answer="b",
    wrong={
        "a": "A new fake is made at every step all the same.",
        "c": "It makes what the discriminator sees more varied, not less.",
    },
    explanation="A discriminator that forgets old tricks can be beaten with them again; the pool is its memory.",
)
Question(
    "translation.hidden",
    text="A CycleGAN returns the MR almost perfectly, but a little noise on the fake CT ruins the return. What has it learned?",
    choices=[
        "To hide the MR in texture too faint to see",
        "A very good translation, which noise disturbs",
        "To overfit the training patients",
    ],
    answer="a",
    wrong={
        "b": "Anatomy that is really drawn in the CT would survive a little noise.",
        "c": "Overfitting would show on new patients, not under noise.",
    },
    explanation="Cycle consistency rewards any code that comes back, readable or not. Noise on the way back takes the code away.",
)
Question(
    "translation.trust",
    text="A synthetic CT paints a small calcification far too dark. What does its MAE, a mean over the whole body, tell you "
    "about that?",
    choices=[
        "That the calcification was not there",
        "That the metric is computed wrongly",
        "Nothing about so few voxels",
    ],
    answer="c",
    wrong={
        "a": "The MR and the phantom's own mask say it is there.",
        "b": "It is computed rightly, as a mean over all voxels of the body.",
    },
    explanation="A mean over the body cannot see what fills a thousandth of it. What a network never saw, it cannot be trusted to draw.",
)
