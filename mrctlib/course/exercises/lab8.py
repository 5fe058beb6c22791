"""Exercises and questions of the lab on MR to CT: the references are the library's own functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.course.complexity import receptive_field
from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.data.volumes import HU_RANGE
from mrctlib.models.translation import remember
from mrctlib.training import cyclegan
from mrctlib.training.descent import descend


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


def _scores() -> tuple[Tensor, bool, Tensor]:
    return torch.randn(2, 1, 4, 4, requires_grad=True), bool(torch.rand(()) < 0.5), torch.rand(2, 1, 4, 4)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum()


Exercise(
    "translation.least_squares_gan",
    reference=losses.least_squares_gan,
    inputs=_scores,
    wrong=[
        (lambda s, real, w: _weighted(F.softplus(-s if real else s), w), "This is the cross-entropy: here it is the squared distance."),
        (lambda s, real, w: losses.least_squares_gan(s, not real, w), "Real and fake are swapped: real scores should be 1, fake ones 0."),
        (lambda s, real, w: losses.least_squares_gan(s.sigmoid(), real, w), "No sigmoid: least squares works on the scores as they are."),
        (lambda s, real, w: _weighted((s - (1.0 if real else -1.0)) ** 2, w), "Fakes should score 0, not -1."),
        (lambda s, real, w: _weighted((s - float(real)).abs(), w), "This is the absolute distance: square it."),
        (lambda s, real, w: ((s - float(real)) ** 2).mean(), "The weights are missing: air would count as much as body."),
        (lambda s, real, w: ((s - float(real)) ** 2 * w).mean(), "Divide by the sum of the weights, not by the number of scores."),
        (lambda s, real, w: ((s - float(real)) ** 2 * w).sum(), "A mean, not a sum: divide by the sum of the weights."),
        (lambda s, real, w: losses.least_squares_gan(s.detach(), real, w) + 0 * s.sum(), "You detached the scores: nobody can learn from them."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- the game


def _way() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh())


def _noisy(x: Tensor, noise: float) -> Tensor:
    return x + noise * torch.randn_like(x)


def _hands_over_the_noise(x, there, back, noise):
    fake = _noisy(there(x), noise)
    return fake, back(fake)


Exercise(
    "translation.round_trip",
    reference=cyclegan.round_trip,
    inputs=lambda: (torch.randn(2, 1, 6, 6), _way(), _way(), 0.5),
    wrong=[
        (lambda x, there, back, noise: (there(x), back(there(x))), "The noise is missing: put it on the fake, before the way back."),
        (_hands_over_the_noise, "The way back is right, but the fake that you return has the noise on it: the discriminator would see that."),
        (lambda x, there, back, noise: (there(x), back(there(_noisy(x, noise)))), "The noise belongs on the fake, not on the image that goes in."),
        (lambda x, there, back, noise: (there(x), _noisy(back(there(x)), noise)), "The noise belongs before the way back, not after it."),
        (lambda x, there, back, noise: (there(x), back(_noisy(there(x).detach(), noise))), "You detached the fake: what comes back could not teach the way there."),
        (lambda x, there, back, noise: (there(x), there(_noisy(there(x), noise))), "That is the same way twice: use `back`."),
        (lambda x, there, back, noise: (there(x), back(_noisy(x, noise))), "What goes back is the fake, not x."),
        (lambda x, there, back, noise: (there(x), back(there(x) + torch.randn_like(x))), "Multiply the noise by its standard deviation, `noise`."),
    ],
)  # fmt: skip


class _Judge(nn.Module):
    """Two small discriminators, asked by domain."""

    def __init__(self) -> None:
        super().__init__()
        self.ct, self.mr = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

    def forward(self, domain: str, images: Tensor, real: bool) -> Tensor:
        return losses.least_squares_gan(getattr(self, domain)(images), real)


def _of_both(learns: bool) -> dict[str, Tensor]:
    return {name: torch.randn(2, 1, 6, 6, requires_grad=learns) for name in ("mr", "ct")}


_gan, _l1 = cyclegan.generators_loss, losses.cycle_consistency

Exercise(
    "translation.generators_loss",
    reference=cyclegan.generators_loss,
    inputs=lambda: (_Judge(), _of_both(True), _of_both(False), _of_both(True)),
    wrong=[
        (lambda j, f, r, b: _gan(j, f, r, b) | {"gan": j("ct", f["ct"], False) + j("mr", f["mr"], False)}, "The generators want their fakes to be called real: `True`."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"gan": j("ct", r["ct"], True) + j("mr", r["mr"], True)}, "Let the fakes be judged, not the real images."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"gan": j("ct", f["ct"], True)}, "The fake MR is missing: both generators learn."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"gan": j("mr", f["ct"], True) + j("ct", f["mr"], True)}, "Each fake goes to the judge of its own domain: a fake CT to \"ct\"."),
        (lambda j, f, r, b: _gan(j, {k: v.detach() for k, v in f.items()}, r, b), "You detached the fakes: the generators would learn nothing from the judge."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"cycle": _l1(r["mr"], b["mr"])}, "The way from CT to MR and back is missing in \"cycle\"."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"cycle": _l1(r["mr"], b["ct"]) + _l1(r["ct"], b["mr"])}, "Hold each image against its own return: MR against MR."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"cycle": _l1(r["mr"], f["mr"]) + _l1(r["ct"], f["ct"])}, "\"cycle\" is about what came back, `returned`, not about the fakes: these are of other people."),
        (lambda j, f, r, b: _gan(j, f, r, b) | {"cycle": 10 * _gan(j, f, r, b)["cycle"]}, "No weights yet: the recipe has them."),
        (lambda j, f, r, b: {key: value / 2 for key, value in _gan(j, f, r, b).items()}, "Sums over both directions, not means."),
    ],
)  # fmt: skip


def _verdicts(judge: Callable, fakes: dict, real: dict, *, on_real: bool = True, on_fake: bool = False) -> Tensor:
    return sum(judge(name, real[name], on_real) + judge(name, fakes[name].detach(), on_fake) for name in real) / 2


Exercise(
    "translation.discriminators_loss",
    reference=cyclegan.discriminators_loss,
    inputs=lambda: (_Judge(), _of_both(True), _of_both(False)),
    wrong=[
        (lambda j, f, r: sum(j(n, r[n], True) + j(n, f[n], False) for n in r) / 2, "The fakes are not detached: this loss would change the generators, too."),
        (lambda j, f, r: 2 * _verdicts(j, f, r), "Halve it, so that the discriminators do not run ahead (Zhu et al. 2017)."),
        (lambda j, f, r: _verdicts(j, f, r, on_real=False, on_fake=True), "Real and fake are swapped."),
        (lambda j, f, r: _verdicts(j, f, r, on_fake=True), "Fakes are to be called fake here: `False`."),
        (lambda j, f, r: (j("ct", r["ct"], True) + j("ct", f["ct"].detach(), False)) / 2, "The discriminator of MR is missing."),
        (lambda j, f, r: sum(j(n, f[n].detach(), False) for n in r) / 2, "The real images are missing: it would call everything fake."),
        (lambda j, f, r: sum(j(n, r[n], True) for n in r) / 2, "The fakes are missing: it would call everything real."),
        (lambda j, f, r: _verdicts(j, r, f), "Real and fake images are swapped."),
    ],
)  # fmt: skip


def _pool() -> tuple[list[Tensor], Tensor, int, list[int | None]]:
    """Room for two more, then fakes with a slot, the first among them, and fakes without."""
    return [torch.randn(1, 2, 2)], torch.randn(8, 1, 2, 2), 3, [0, None, None, 0, 2, None, 0, 1]


def _pool_with(move: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A pool in which `move` (kept, fake, slot) says what is shown once it is full."""

    def keep(kept, fakes, capacity, slots):
        shown = []
        for fake, slot in zip(fakes, slots, strict=True):
            if len(kept) < capacity:
                kept.append(fake)
                shown.append(fake)
            else:
                shown.append(move(kept, fake, slot))
        return torch.stack(shown)

    return keep


def _swap(kept, fake, slot):
    fake, kept[slot] = kept[slot], fake
    return fake


def _overwrites(kept, fake, slot):
    if slot is not None:
        kept[slot] = fake
    return fake


def _slot_first(kept, fakes, capacity, slots):
    shown = []
    for fake, slot in zip(fakes, slots, strict=True):
        if slot is not None and slot < len(kept):
            fake = _swap(kept, fake, slot)
        elif len(kept) < capacity:
            kept.append(fake)
        shown.append(fake)
    return torch.stack(shown)


def _grows(kept, fakes, capacity, slots):
    kept.extend(fakes)
    return fakes


Exercise(
    "translation.remember",
    reference=remember,
    inputs=_pool,
    wrong=[
        (_pool_with(_overwrites), "The old fake is lost before it was shown: where it is swapped, show the *old* one."),
        (_pool_with(lambda kept, fake, slot: fake if slot is None else kept[slot]), "The old one is shown, but the new one is not kept in its place: the pool never changes."),
        (_pool_with(lambda kept, fake, slot: _swap(kept, fake, slot or 0)), "A fake without a slot (`None`) is shown and not kept."),
        (_pool_with(lambda kept, fake, slot: _swap(kept, fake, slot) if slot else fake), "0 is a slot, the first one: ask `slot is not None`, for `if slot` is false there."),
        (_pool_with(lambda kept, fake, slot: fake), "Once the pool is full, nothing old is ever shown."),
        (_slot_first, "Ask first whether there is room: then the fake is kept and shown, whatever its slot says."),
        (_grows, "The pool must not grow beyond its capacity."),
    ],
)  # fmt: skip


class _GeneratorsTurn(nn.Module):
    """Makes a fake, and has it judged; tells whether the discriminators stood still meanwhile."""

    def __init__(self, discriminators: nn.Module) -> None:
        super().__init__()
        self.maker, self.judges, self.seen = _way(), [discriminators], []
        self.register_buffer("x", torch.randn(2, 1, 6, 6))

    def forward(self) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen.append([weight.requires_grad for weight in self.judges[0].parameters()])
        fakes = {"ct": self.maker(self.x)}
        return self.judges[0](fakes["ct"]).square().mean(), fakes

    def get_extra_state(self) -> dict[str, list]:
        return {"seen": self.seen}


class _DiscriminatorsTurn(nn.Module):
    """Judges a fake; tells which one it was given."""

    def __init__(self, discriminators: nn.Module) -> None:
        super().__init__()
        self.judges, self.seen = [discriminators], []

    def forward(self, fakes: dict[str, Tensor]) -> Tensor:
        self.seen.append(float(fakes["ct"].detach().sum()))
        return (self.judges[0](fakes["ct"].detach()) - 1).square().mean()

    def get_extra_state(self) -> dict[str, list]:
        return {"seen": self.seen}


class _Standing(nn.Sequential):
    """Tells whether its weights may learn."""

    def get_extra_state(self) -> dict[str, bool]:
        return {"learns": all(weight.requires_grad for weight in self.parameters())}


def _step() -> tuple:
    discriminators = _Standing(nn.Conv2d(1, 1, 3))
    turn = _GeneratorsTurn(discriminators)
    rates = {"generators": turn.maker, "discriminators": discriminators}
    optimisers = {name: torch.optim.SGD(network.parameters(), 0.5) for name, network in rates.items()}
    return discriminators, optimisers, turn, _DiscriminatorsTurn(discriminators)


def _never_frozen(discriminators, optimisers, generators_turn, discriminators_turn):
    loss, fakes = generators_turn()
    descend(optimisers["generators"], loss)
    descend(optimisers["discriminators"], discriminators_turn(fakes))


def _left_frozen(discriminators, optimisers, generators_turn, discriminators_turn):
    cyclegan.take_step(discriminators, optimisers, generators_turn, discriminators_turn)
    discriminators.requires_grad_(False)


def _generators_only(discriminators, optimisers, generators_turn, discriminators_turn):
    discriminators.requires_grad_(False)
    descend(optimisers["generators"], generators_turn()[0])
    discriminators.requires_grad_(True)


def _fakes_made_again(discriminators, optimisers, generators_turn, discriminators_turn):
    discriminators.requires_grad_(False)
    descend(optimisers["generators"], generators_turn()[0])
    fakes = generators_turn()[1]
    discriminators.requires_grad_(True)
    descend(optimisers["discriminators"], discriminators_turn(fakes))


def _discriminators_first(discriminators, optimisers, generators_turn, discriminators_turn):
    discriminators.requires_grad_(False)
    loss, fakes = generators_turn()
    discriminators.requires_grad_(True)
    descend(optimisers["discriminators"], discriminators_turn(fakes))
    descend(optimisers["generators"], loss)


def _swapped(discriminators, optimisers, generators_turn, discriminators_turn):
    discriminators.requires_grad_(False)
    loss, fakes = generators_turn()
    discriminators.requires_grad_(True)
    other = discriminators_turn(fakes)
    descend(optimisers["discriminators"], loss)
    descend(optimisers["generators"], other + 0 * loss)


Exercise(
    "translation.take_step",
    reference=cyclegan.take_step,
    inputs=_step,
    wrong=[
        (_never_frozen, "The weights come out right, with work for nothing: in the generators' turn nobody needs gradients of the discriminators. `discriminators.requires_grad_(False)` before it, and `True` after."),
        (_left_frozen, "The discriminators are left frozen: they would never learn again."),
        (_generators_only, "The discriminators never learn: their turn is missing."),
        (_fakes_made_again, "Do not make the fakes twice: the generators' turn has given them to you."),
        (_discriminators_first, "Here the generators take their step first, from discriminators that have not moved yet."),
        (_swapped, "Each loss has its own optimiser."),
    ],
)  # fmt: skip


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
