"""Exercises and questions of the lab on GANs: the two losses, the two steps, the game, and what lies between digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log, prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.losses import cross_entropy_gan
from mrctlib.runtime import derive_seed

# ---------------------------------------------------------------------------------------------------- the two losses


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Cross entropy of scores before the sigmoid, any shape: mean over the real ones plus mean over the fakes.

    Goodfellow et al. 2014, equation 1 with its sign turned round.
    """
    return cross_entropy_gan(real_scores, True) + cross_entropy_gan(fake_scores, False)


def generator_loss(fake_scores: Tensor) -> Tensor:
    """-log of the probability that the fakes are real, mean over scores before the sigmoid. Goodfellow et al. 2014."""
    return cross_entropy_gan(fake_scores, True)


def _scores(count: int) -> Tensor:
    return (2 * torch.randn(count)).requires_grad_()


def _twice(real: Tensor, fake: Tensor) -> Tensor:
    return discriminator_loss(real.sigmoid(), fake.sigmoid())


_TWICE = "The sigmoid is applied twice: these are scores, and the loss has a sigmoid of its own."

Exercise(
    "gans.discriminator_loss",
    reference=discriminator_loss,
    inputs=lambda: (_scores(5), _scores(7)),
    wrong=[
        (_twice, _TWICE),
        (lambda r, f: discriminator_loss(f, r), "Real and fake are swapped: real ones should get 1, fakes 0."),
        (lambda r, f: discriminator_loss(r, f) / 2, "This is half the sum: add the two means."),
        (lambda r, f: F.softplus(torch.cat([-r, f])).mean(), "One mean over all scores: take a mean for each kind, and add them."),
        (lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum(), "Means, not sums: the loss must not depend on the number of examples."),
        (lambda r, f: -discriminator_loss(r, f), "The sign: a loss is made small."),
        (lambda r, f: cross_entropy_gan(r, True), "The fakes are missing."),
        (lambda r, f: cross_entropy_gan(f, False), "The real ones are missing."),
        (lambda r, f: cross_entropy_gan(r, True) + cross_entropy_gan(f, True), "The label of the fakes is 0 here: that they look real is the generator's wish."),
        (lambda r, f: discriminator_loss(r, f.detach()), "You detached the fakes' scores: then the discriminator learns nothing from them. Detach the *fakes*, before they are judged."),
    ],
)  # fmt: skip

Exercise(
    "gans.generator_loss",
    reference=generator_loss,
    inputs=lambda: _scores(6),
    wrong=[
        (lambda f: generator_loss(f.sigmoid()), _TWICE),
        (lambda f: cross_entropy_gan(f, False), "This is the discriminator's wish, that fakes get 0. The generator wants 1."),
        (lambda f: -cross_entropy_gan(f, False), "This is the loss that saturates: nearly flat where the fakes are bad. Ask for the label 1 instead."),
        (lambda f: F.softplus(-f).sum(), "The mean, not the sum."),
        (lambda f: -generator_loss(f), "The sign: a loss is made small."),
        (lambda f: -f.mean(), "This is the loss of a Wasserstein generator: here take the cross entropy with the label 1."),
        (lambda f: -f.sigmoid().mean(), "The logarithm is missing: -log p, not -p."),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- the two steps


def discriminator_step(
    generator: nn.Module, discriminator: nn.Module, optimiser: torch.optim.Optimizer, real: Tensor, noise: Tensor
) -> float:
    """One step of the discriminator on real examples (N, D) and on fakes made of noise (N, Z); returns its loss.

    The generator is only asked: it gets no gradient.
    """
    fake = generator(noise).detach()
    loss = discriminator_loss(discriminator(real), discriminator(fake))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def generator_step(
    generator: nn.Module, discriminator: nn.Module, optimiser: torch.optim.Optimizer, noise: Tensor
) -> float:
    """One step of the generator, on what the discriminator says of its fakes of noise (N, Z); returns its loss.

    The optimiser holds the generator's weights alone, so the discriminator stays as it is.
    """
    loss = generator_loss(discriminator(generator(noise)))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


class _Player(nn.Sequential):
    """Tells `state_dict`, so that a check sees it, whether its weights may learn."""

    def get_extra_state(self) -> dict[str, bool]:
        return {"learns": all(weight.requires_grad for weight in self.parameters())}


class _Listener(_Player):
    """Tells also whether any gradient ever reached it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.reached = False
        for weight in self.parameters():
            weight.register_hook(self._hear)

    def _hear(self, gradient: Tensor) -> None:
        self.reached = True

    def get_extra_state(self) -> dict[str, bool]:
        return super().get_extra_state() | {"reached": self.reached}


def _generator() -> _Listener:
    return _Listener(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


def _discriminator() -> _Player:
    return _Player(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))


def _descent(player: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(player.parameters(), 0.5)


def _with_old_gradients(player: _Player) -> _Player:
    """As after the other player's turn, or after the last round."""
    for weight in player.parameters():
        weight.grad = torch.randn_like(weight)
    return player


def _discriminators_turn() -> tuple:
    discriminator = _with_old_gradients(_discriminator())
    return _generator(), discriminator, _descent(discriminator), 2 + torch.randn(6, 1), torch.randn(6, 2)


def _generators_turn() -> tuple:
    generator = _with_old_gradients(_generator())
    return generator, _discriminator(), _descent(generator), torch.randn(6, 2)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> float:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _d_with(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """The discriminator's step with another loss of (scores of real, scores of fake)."""

    def step(generator, discriminator, optimiser, real, noise):
        return _descend(optimiser, loss(discriminator(real), discriminator(generator(noise).detach())))

    return step


def _d_not_detached(generator, discriminator, optimiser, real, noise):
    return _descend(optimiser, discriminator_loss(discriminator(real), discriminator(generator(noise))))


def _d_frozen_generator(generator, discriminator, optimiser, real, noise):
    generator.requires_grad_(False)
    return _d_not_detached(generator, discriminator, optimiser, real, noise)


def _d_own_noise(generator, discriminator, optimiser, real, noise):
    return discriminator_step(generator, discriminator, optimiser, real, torch.randn_like(noise))


def _d_frozen(generator, discriminator, optimiser, real, noise):
    discriminator.requires_grad_(False)
    return discriminator_step(generator, discriminator, optimiser, real, noise)


def _d_old_gradients(generator, discriminator, optimiser, real, noise):
    loss = discriminator_loss(discriminator(real), discriminator(generator(noise).detach()))
    loss.backward()
    optimiser.step()
    return loss.item()


def _d_no_step(generator, discriminator, optimiser, real, noise):
    loss = discriminator_loss(discriminator(real), discriminator(generator(noise).detach()))
    loss.backward()
    return loss.item()


def _d_in_two_steps(generator, discriminator, optimiser, real, noise):
    fake = generator(noise).detach()
    one = _descend(optimiser, cross_entropy_gan(discriminator(real), True))
    return one + _descend(optimiser, cross_entropy_gan(discriminator(fake), False))


_OLD_GRADIENTS = "Old gradients are added to the new ones: call `optimiser.zero_grad()` before `loss.backward()`."
_NO_STEP = "The weights did not move: `optimiser.zero_grad()`, `loss.backward()`, `optimiser.step()`, in this order."
_FROZEN = (
    "The discriminator is left frozen: it will never learn again. After the generator's step: "
    "`discriminator.requires_grad_(True)`."
)

Exercise(
    "gans.discriminator_step",
    reference=discriminator_step,
    inputs=_discriminators_turn,
    wrong=[
        (_d_with(_twice), _TWICE),
        (_d_with(lambda real, fake: discriminator_loss(fake, real)), "Real and fake are swapped: this one learns to call fakes real."),
        (_d_not_detached, "The weights are right, but the generator was given a gradient that nobody wants: `generator(noise).detach()`."),
        (_d_frozen_generator, "The generator is left frozen: it could not learn in its own turn. Detach the fakes instead."),
        (_d_own_noise, "Use the noise that you are given."),
        (_d_frozen, "The discriminator is frozen in its own turn: here it must learn."),
        (_d_old_gradients, _OLD_GRADIENTS),
        (_d_no_step, _NO_STEP),
        (_d_in_two_steps, "One step on the sum of both halves, not a step for each."),
        (_d_with(lambda real, fake: cross_entropy_gan(real, True)), "The fakes are missing: it would call everything real."),
        (_d_with(lambda real, fake: cross_entropy_gan(real, True) + cross_entropy_gan(fake, True)), "Fakes get the label 0 in the discriminator's turn."),
        (_d_with(lambda real, fake: -discriminator_loss(real, fake)), "The sign: this makes its loss large."),
    ],
)  # fmt: skip


def _g_with(loss: Callable[[Tensor], Tensor]) -> Callable:
    """The generator's step with another loss of the fakes' scores."""

    def step(generator, discriminator, optimiser, noise):
        return _descend(optimiser, loss(discriminator(generator(noise))))

    return step


def _g_detached(generator, discriminator, optimiser, noise):
    return _descend(optimiser, generator_loss(discriminator(generator(noise).detach())))


def _g_detached_and_frozen(generator, discriminator, optimiser, noise):
    discriminator.requires_grad_(False)
    return _g_detached(generator, discriminator, optimiser, noise)


def _g_left_frozen(generator, discriminator, optimiser, noise):
    discriminator.requires_grad_(False)
    return generator_step(generator, discriminator, optimiser, noise)


def _g_own_noise(generator, discriminator, optimiser, noise):
    return generator_step(generator, discriminator, optimiser, torch.randn_like(noise))


def _g_old_gradients(generator, discriminator, optimiser, noise):
    loss = generator_loss(discriminator(generator(noise)))
    loss.backward()
    optimiser.step()
    return loss.item()


def _g_no_step(generator, discriminator, optimiser, noise):
    loss = generator_loss(discriminator(generator(noise)))
    loss.backward()
    return loss.item()


_G_DETACHED = (
    "No gradient reaches the generator. Did you detach the fakes? That belongs into the discriminator's turn only."
)

Exercise(
    "gans.generator_step",
    reference=generator_step,
    inputs=_generators_turn,
    wrong=[
        (_g_with(lambda fake: generator_loss(fake.sigmoid())), _TWICE),
        (_g_detached, _G_DETACHED),
        (_g_detached_and_frozen, f"{_G_DETACHED} And the discriminator is frozen, so nothing at all could learn."),
        (_g_left_frozen, _FROZEN),
        (_g_with(lambda fake: cross_entropy_gan(fake, False)), "Real and fake are swapped: with the label 0 the generator learns to be caught."),
        (_g_with(lambda fake: -cross_entropy_gan(fake, False)), "This is the loss that saturates: use `generator_loss`."),
        (_g_own_noise, "Use the noise that you are given."),
        (_g_old_gradients, _OLD_GRADIENTS),
        (_g_no_step, _NO_STEP),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------- the game


def game(
    generator: nn.Module,
    discriminator: nn.Module,
    optimisers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    draw_real: Callable[[], Tensor],
    draw_noise: Callable[[], Tensor],
    rounds: int,
) -> list[tuple[float, float]]:
    """In each round a step of the discriminator, then one of the generator, each on new draws.

    optimisers: (the generator's, the discriminator's). Returns (the discriminator's loss, the generator's loss) of
    each round. Goodfellow et al. 2014, algorithm 1 with k = 1.
    """
    losses = []
    for _ in range(rounds):
        caught = discriminator_step(generator, discriminator, optimisers[1], draw_real(), draw_noise())
        fooled = generator_step(generator, discriminator, optimisers[0], draw_noise())
        losses.append((caught, fooled))
    return losses


def _source(name: str, form: tuple[int, int], shift: float) -> Callable[[], Tensor]:
    """A function that draws anew at each call, whatever else is drawn in between."""
    own = torch.Generator().manual_seed(derive_seed(name, int(torch.randint(2**31, ()))))
    return lambda: shift + torch.randn(form, generator=own)


def _players() -> tuple:
    generator, discriminator = _generator(), _discriminator()
    return (
        generator, discriminator, (_descent(generator), _descent(discriminator)),
        _source("real", (6, 1), 2.0), _source("noise", (6, 2), 0.0), 3,
    )  # fmt: skip


def _always(draw: Callable[[], Tensor]) -> Callable[[], Tensor]:
    drawn = draw()
    return lambda: drawn


def _same_noise(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    return game(generator, discriminator, optimisers, draw_real, _always(draw_noise), rounds)


def _same_real(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    return game(generator, discriminator, optimisers, _always(draw_real), draw_noise, rounds)


def _same_both(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    return game(generator, discriminator, optimisers, _always(draw_real), _always(draw_noise), rounds)


def _noise_shared_in_a_round(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    losses = []
    for _ in range(rounds):
        losses += game(generator, discriminator, optimisers, draw_real, _always(draw_noise), 1)
    return losses


def _generator_first(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    losses = []
    for _ in range(rounds):
        fooled = generator_step(generator, discriminator, optimisers[0], draw_noise())
        losses.append((discriminator_step(generator, discriminator, optimisers[1], draw_real(), draw_noise()), fooled))
    return losses


def _left_frozen(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    losses = []
    for _ in range(rounds):
        losses += game(generator, discriminator, optimisers, draw_real, draw_noise, 1)
        discriminator.requires_grad_(False)
    return losses


def _optimisers_swapped(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    return game(generator, discriminator, optimisers[::-1], draw_real, draw_noise, rounds)


def _one_after_the_other(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    caught = [
        discriminator_step(generator, discriminator, optimisers[1], draw_real(), draw_noise()) for _ in range(rounds)
    ]
    fooled = [generator_step(generator, discriminator, optimisers[0], draw_noise()) for _ in range(rounds)]
    return list(zip(caught, fooled, strict=True))


Exercise(
    "gans.game",
    reference=game,
    inputs=_players,
    wrong=[
        (_same_noise, "The noise is reused: draw it anew for each step, or the generator learns a few points by heart."),
        (_noise_shared_in_a_round, "The noise is reused: both players work on the same draw. Call `draw_noise()` for each step."),
        (_same_real, "The same real examples in every round: call `draw_real()` within the loop."),
        (_same_both, "Everything is drawn once, before the loop: call `draw_real()` and `draw_noise()` within it."),
        (_generator_first, "The discriminator first: an untrained one has nothing to tell the generator."),
        (_left_frozen, _FROZEN),
        (_optimisers_swapped, "The optimisers are swapped: the generator's is the first of the two."),
        (_one_after_the_other, "Take turns: a step of each in every round, not all steps of one and then all of the other."),
        (lambda g, d, o, real, noise, rounds: game(g, d, o, real, noise, 1), "That is one round: play `rounds` of them."),
        (lambda g, d, o, real, noise, rounds: game(g, d, o, real, noise, rounds)[-1], "These are the losses of the last round: return those of all rounds."),
        (lambda g, d, o, real, noise, rounds: [row[::-1] for row in game(g, d, o, real, noise, rounds)], "In each pair the discriminator's loss comes first."),
    ],
)  # fmt: skip

Question(
    "gans.even_game",
    text="The fakes are perfect, and the discriminator gives every score 0 (probability one half). What is its loss, "
    "the sum of its two means?",
    answer=2 * log(2),
    tolerance=0.006,
    explanation="2 log 2, from -log(1/2) for each kind. Whoever sees 1.386 has an even game, not a failed training.",
    wrong={
        0: "A loss of 0 would need certainty. At one half each kind costs -log(1/2).",
        log(2): "That is one of the two means: real and fake each cost as much.",
        1: "-log(1/2) with the natural logarithm is 0.69, and there are two of them.",
        2: "The logarithm is the natural one, not that to base 2.",
    },
)


class MultiLayerGenerator(nn.Sequential):
    """Noise (N, latent) to images (N, 1, 28, 28) from -1 to 1, by linear layers alone. After Goodfellow et al. 2014.

    Layers of 256, 512, 1024 and 784 values, batch normalisation and leaky ReLU in between, tanh at the end. It does not
    know that pixels have neighbours.
    """

    def __init__(self, latent: int = 10) -> None:
        super().__init__(
            *_normalised(latent, 256), *_normalised(256, 512), *_normalised(512, 1024),
            nn.Linear(1024, 28 * 28), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)),
        )  # fmt: skip


class MultiLayerDiscriminator(nn.Sequential):
    """Images (N, 1, 28, 28) from -1 to 1 to one logit each, (N,): high for real. After Goodfellow et al. 2014.

    Layers of 1024, 512, 256 and 1 values, leaky ReLU in between.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(28 * 28, 1024), nn.LeakyReLU(0.2),
            nn.Linear(1024, 512), nn.LeakyReLU(0.2),
            nn.Linear(512, 256), nn.LeakyReLU(0.2),
            nn.Linear(256, 1), nn.Flatten(0),
        )  # fmt: skip


def _normalised(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A linear layer, batch normalisation, whose shift takes the place of the bias, and leaky ReLU."""
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2)


def _weights(network: nn.Module) -> int:
    return sum(prod(weight.shape) for weight in network.parameters())


with torch.device("meta"):  # only their shapes are wanted: no memory, no random numbers
    _SMALL = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(), nn.Linear(32, 32), nn.LeakyReLU(), nn.Linear(32, 1))
    _MULTI_LAYER = MultiLayerGenerator()
    _OPPONENT = MultiLayerDiscriminator()

Question(
    "gans.parameters_small",
    text="A generator has layers of 2 (noise), 32, 32 and 1 values, with biases. How many parameters has it?",
    answer=_weights(_SMALL),
    unit="parameters",
    explanation="Each layer: (values before + 1 for the bias) times values after: 3 * 32 + 33 * 32 + 33 * 1.",
    wrong={
        2 * 32 + 32 * 32 + 32: "The biases are missing: one for each value of layers two to four.",
        _weights(_SMALL[2:]): "The first layer, from the noise, is missing.",
        _weights(_SMALL[:3]): "The last layer, to the one value, is missing.",
        32 + 32 + 1: "These are the biases alone.",
    },
)

Question(
    "gans.parameters_large",
    text="How many parameters has the multi-layer generator, with layers of 10, 256, 512, 1024 and 784 values? Each hidden "
    "layer has weights, and a gain and a shift for each value; the last has weights and biases.",
    answer=_weights(_MULTI_LAYER),
    unit="parameters",
    explanation=f"{_weights(_MULTI_LAYER):,} in full, more than half of them in the last layer. Its opponent has {_weights(_OPPONENT):,}.",
    wrong={
        sum(prod(w.shape) for w in _MULTI_LAYER.parameters() if w.dim() == 2): "Gains, shifts and biases are missing.",
        _weights(_MULTI_LAYER) - 256 - 512 - 1024: "A gain and a shift for each hidden value: that makes two.",
        _weights(_MULTI_LAYER) - 784: "The last layer has biases, one for each pixel.",
        _weights(_OPPONENT): "That is the discriminator.",
        _weights(_MULTI_LAYER) + _weights(_OPPONENT): "That is both players together.",
    },
)

Question(
    "gans.why_frozen",
    text="Why must the discriminator stay as it is while the generator takes its step?",
    choices=[
        "its gradients would be too large",
        "on the generator's loss it would learn to call fakes real",
        "it has learned enough by then",
        "no gradient would reach the generator otherwise",
    ],
    answer="b",
    explanation="The generator's loss falls fastest if the *judge* is moved. The gradient must pass through the "
    "discriminator, but only the generator may take a step on it.",
    wrong={
        "a": "Their size is not the matter: ask what the generator's loss would make of the discriminator.",
        "c": "It has not: it learns again in the next round.",
        "d": "The gradient passes through in either case. That is why freezing does no harm.",
    },
)

Question(
    "gans.why_losses",
    text="The digits get better and better, and neither loss falls. Why?",
    choices=[
        "the learning rate is too small",
        "the networks have too few parameters",
        "each loss is measured against an opponent who improves as well",
        "the discriminator learns nothing",
    ],
    answer="c",
    explanation="A loss of this game says who is ahead, not how good the fakes are. So measure the fakes themselves.",
    wrong={
        "a": "Then the digits would not get better.",
        "b": "More parameters on both sides do not make either loss fall.",
        "d": "If it learned nothing, the generator would soon have fooled it, and its loss would fall.",
    },
)

# ---------------------------------------------------------------------------------------------------- latent space


def interpolate(a: Tensor, b: Tensor, count: int) -> Tensor:
    """`count` points from a to b, both (Z,), in equal steps on a straight line, ends included: (count, Z)."""
    return torch.lerp(a, b, torch.linspace(0, 1, count)[:, None])


def _on_a_line(a: Tensor, b: Tensor, places: Tensor) -> Tensor:
    return a + places[:, None] * (b - a)


Exercise(
    "gans.interpolate",
    reference=interpolate,
    inputs=lambda: (torch.randn(5), torch.randn(5), 4),
    wrong=[
        (lambda a, b, count: interpolate(b, a, count), "This walks from b to a."),
        (lambda a, b, count: _on_a_line(a, b, torch.arange(count) / count), "The end is missing: with `count` points there are `count - 1` steps."),
        (lambda a, b, count: _on_a_line(a, b, torch.arange(1, count + 1) / count), "The start is missing: begin at a."),
        (lambda a, b, count: _on_a_line(a, b, torch.linspace(0, 1, count + 1)), "One point too many: `count` points, ends included."),
        (lambda a, b, count: _on_a_line(a, b, torch.linspace(0, 1, count + 2)[1:-1]), "The ends belong to the walk."),
        (lambda a, b, count: a + torch.linspace(0, 1, count)[:, None] * b, "This starts at a but ends at a + b: move by a share of b - a."),
        (lambda a, b, count: interpolate(a, b, count).T, "One row for each point: (count, Z)."),
    ],
)  # fmt: skip

Question(
    "gans.typical_length",
    text="A vector has 100 values from the standard normal distribution. How long is it typically (the root of the sum "
    "of its squares)?",
    answer=sqrt(100),
    tolerance=0.1,
    explanation="Each square is 1 on average. So all training noise lies near a sphere, and the middle between two draws "
    "is shorter, about 7.1: no draw is ever there.",
    wrong={
        0: "0 is the most likely *point*, but hardly any draw is near it: 100 squares add up.",
        1: "That is one value. There are 100.",
        100: "That is the sum of the squares: take the root.",
    },
)

Question(
    "gans.extrapolation",
    text="You walk on, far beyond the noise of the training, along a straight line from the origin. What does the generator make?",
    choices=[
        "ever better digits",
        "new digits, as different as those in training",
        "a grey image",
        "harsh images, far from any real digit",
    ],
    answer="d",
    explanation="Nobody ever judged it there. Its inner values grow with the noise, and tanh drives the pixels to black or "
    "white. It gives no warning.",
    wrong={
        "a": "The discriminator never saw what is made there, so nothing made it good.",
        "b": "A generator knows the noise of its training. Beyond it, only the growing inner values are left.",
        "c": "Grey is near 0, in the middle of tanh. Far out the inner values are large.",
    },
)

# ---------------------------------------------------------------------------------------------------- a critic


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, between: Tensor, weight: float = 10.0
) -> Tensor:
    """weight times the mean of (|slope| - 1)^2 at points between fake (0) and real (1): a scalar.

    real, fake: (N, ...); between: (N, 1, ...), from 0 to 1. Gulrajani et al. 2017, equation 3.
    """
    points = torch.lerp(fake, real, between).requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return weight * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def _slope(critic, points: Tensor, *, keep: bool = True) -> Tensor:
    points = points.detach().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points, create_graph=keep)[0].flatten(1)


def _penalty_of(measure: Callable[[Tensor], Tensor], critic, real, fake, between, weight=10.0) -> Tensor:
    return weight * measure(_slope(critic, torch.lerp(fake, real, between)))


def _penalty_at_real(critic, real, fake, between, weight=10.0):
    return gradient_penalty(critic, real, real, between, weight)


def _penalty_at_fake(critic, real, fake, between, weight=10.0):
    return gradient_penalty(critic, fake, fake, between, weight)


def _penalty_other_way(critic, real, fake, between, weight=10.0):
    return gradient_penalty(critic, fake, real, between, weight)


def _penalty_without_graph(critic, real, fake, between, weight=10.0):
    return weight * ((_slope(critic, torch.lerp(fake, real, between), keep=False).norm(dim=1) - 1) ** 2).mean()


def _penalty_without_weight(critic, real, fake, between, weight=10.0):
    return gradient_penalty(critic, real, fake, between, 1.0)


def _between() -> tuple:
    critic = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 2 * 3, 1), nn.Flatten(0))
    return critic, torch.randn(3, 1, 4, 5), torch.randn(3, 1, 4, 5), torch.rand(3, 1, 1, 1)


Exercise(
    "gans.gradient_penalty",
    reference=gradient_penalty,
    inputs=_between,
    wrong=[
        (_penalty_without_weight, "The weight is missing: times `weight`."),
        (_penalty_without_graph, "The value is right, but the critic cannot learn from it: `create_graph=True`."),
        (partial(_penalty_of, lambda s: (s.norm(dim=1) ** 2).mean()), "The slope should be 1, not 0: subtract 1 from its length."),
        (partial(_penalty_of, lambda s: (s.norm() - 1) ** 2), "Each example has a slope of its own: flatten from axis 1 on, and take the norm along axis 1."),
        (partial(_penalty_of, lambda s: ((s**2).sum(1) - 1).square().mean()), "The root is missing: the *length* of the slope should be 1, not its square."),
        (partial(_penalty_of, lambda s: (s.norm(dim=1) - 1).abs().mean()), "The square of the distance from 1, not the absolute value."),
        (partial(_penalty_of, lambda s: ((s - 1) ** 2).mean()), "The length of the slope should be 1, not each of its parts."),
        (partial(_penalty_of, lambda s: (s.norm(dim=1) - 1).clamp(min=0).square().mean()), "This forgives slopes below 1. There is such a version; equation 3 asks for 1 from both sides."),
        (_penalty_other_way, "`between` is 0 at the fake and 1 at the real one."),
        (_penalty_at_real, "Look between real and fake, not at the real ones only."),
        (_penalty_at_fake, "Look between real and fake, not at the fakes only."),
    ],
)  # fmt: skip

Question(
    "gans.no_batch_norm",
    text="Why has the critic of a WGAN-GP no batch normalisation?",
    choices=[
        "it would be too slow",
        "it would make the score of one image depend on the others in its batch",
        "its scores must stay between 0 and 1",
        "it would make every slope 0",
    ],
    answer="b",
    explanation="The penalty asks for the slope at one point. With batch normalisation that point's score moves with "
    "every other image of the batch, and the slope means something else.",
    wrong={
        "a": "It costs little. Ask what the penalty measures.",
        "c": "A critic's score may be any number: it is no probability.",
        "d": "Slopes do not vanish, they mix: through mean and variance each image acts on all scores.",
    },
)
