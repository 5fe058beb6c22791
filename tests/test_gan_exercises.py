"""Other right ways to solve the exercises on GANs are ticked, and slips as students write them get their own hint."""

import pytest
import torch
import torch.nn.functional as F

from mrctlib.course.exercises.core import check
from mrctlib.course.exercises.lab3 import discriminator_loss, discriminator_step, generator_loss, generator_step


def bce_discriminator(real_scores, fake_scores):
    real = F.binary_cross_entropy_with_logits(real_scores, torch.ones_like(real_scores))
    return real + F.binary_cross_entropy_with_logits(fake_scores, torch.zeros_like(fake_scores))


def bce_generator(fake_scores):
    return F.binary_cross_entropy_with_logits(fake_scores, torch.ones_like(fake_scores))


def step_with_fakes_made_without_gradient(generator, discriminator, optimiser, real, noise):
    optimiser.zero_grad()
    with torch.no_grad():
        fake = generator(noise)
    loss = bce_discriminator(discriminator(real), discriminator(fake))
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach())


def step_with_a_backward_for_each_half(generator, discriminator, optimiser, real, noise):
    optimiser.zero_grad()
    on_real = F.softplus(-discriminator(real)).mean()
    on_real.backward()
    on_fake = F.softplus(discriminator(generator(noise).detach())).mean()
    on_fake.backward()
    optimiser.step()
    return (on_real + on_fake).item()


def step_that_freezes_and_thaws(generator, discriminator, optimiser, noise):
    discriminator.requires_grad_(False)
    loss = bce_generator(discriminator(generator(noise)))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    discriminator.requires_grad_(True)
    return loss.item()


def step_that_clears_everything(generator, discriminator, optimiser, noise):
    generator.zero_grad()
    loss = bce_generator(discriminator(generator(noise)))
    loss.backward()
    optimiser.step()
    generator.zero_grad()
    discriminator.zero_grad()
    return loss.item()


def game_that_draws_noise_first(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    of_generator, of_discriminator = optimisers
    caught, fooled = [], []
    for _ in range(rounds):
        noise, real = draw_noise(), draw_real()
        caught.append(discriminator_step(generator, discriminator, of_discriminator, real, noise))
        fooled.append(generator_step(generator, discriminator, of_generator, draw_noise()))
    return list(zip(caught, fooled, strict=True))


@pytest.mark.parametrize(
    ("name", "solution"),
    [
        ("discriminator_loss", bce_discriminator),
        ("generator_loss", bce_generator),
        ("discriminator_step", step_with_fakes_made_without_gradient),
        ("discriminator_step", step_with_a_backward_for_each_half),
        ("generator_step", step_that_freezes_and_thaws),
        ("generator_step", step_that_clears_everything),
        ("game", game_that_draws_noise_first),
        ("interpolate", lambda a, b, count: torch.stack([a + t * (b - a) for t in torch.linspace(0, 1, count)])),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_other_right_ways_are_ticked(name, solution):
    verdict = check(f"gans.{name}", solution)
    assert verdict.status == "right", verdict.message


def frozen_before_and_never_thawed(generator, discriminator, optimiser, noise):
    for weight in discriminator.parameters():
        weight.requires_grad = False
    optimiser.zero_grad()
    loss = bce_generator(discriminator(generator(noise)))
    loss.backward()
    optimiser.step()
    return loss.item()


def detached(generator, discriminator, optimiser, noise):
    fake = generator(noise).detach()
    optimiser.zero_grad()
    loss = bce_generator(discriminator(fake))
    loss.backward()
    optimiser.step()
    return loss.item()


def made_without_gradient(generator, discriminator, optimiser, noise):
    optimiser.zero_grad()
    with torch.no_grad():
        fake = generator(noise)
    loss = generator_loss(discriminator(fake))
    loss.backward()
    optimiser.step()
    return loss.item()


def sigmoid_twice(generator, discriminator, optimiser, real, noise):
    optimiser.zero_grad()
    real, fake = torch.sigmoid(discriminator(real)), torch.sigmoid(discriminator(generator(noise).detach()))
    loss = bce_discriminator(real, fake)
    loss.backward()
    optimiser.step()
    return loss.item()


def swapped(generator, discriminator, optimiser, real, noise):
    optimiser.zero_grad()
    loss = discriminator_loss(discriminator(generator(noise).detach()), discriminator(real))
    loss.backward()
    optimiser.step()
    return loss.item()


def noise_before_the_loop(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    noise, losses = draw_noise(), []
    for _ in range(rounds):
        caught = discriminator_step(generator, discriminator, optimisers[1], draw_real(), noise)
        losses.append((caught, generator_step(generator, discriminator, optimisers[0], noise)))
    return losses


def frozen_in_the_loop(generator, discriminator, optimisers, draw_real, draw_noise, rounds):
    losses = []
    for _ in range(rounds):
        caught = discriminator_step(generator, discriminator, optimisers[1], draw_real(), draw_noise())
        losses.append((caught, frozen_before_and_never_thawed(generator, discriminator, optimisers[0], draw_noise())))
    return losses


@pytest.mark.parametrize(
    ("name", "slip", "hint"),
    [
        ("discriminator_step", sigmoid_twice, "sigmoid is applied twice"),
        ("discriminator_step", swapped, "Real and fake are swapped"),
        ("generator_step", detached, "No gradient reaches the generator"),
        ("generator_step", made_without_gradient, "No gradient reaches the generator"),
        ("generator_step", frozen_before_and_never_thawed, "left frozen"),
        ("game", noise_before_the_loop, "noise is reused"),
        ("game", frozen_in_the_loop, "left frozen"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_slips_are_recognised(name, slip, hint):
    verdict = check(f"gans.{name}", slip)
    assert verdict.misconception and hint in verdict.misconception, verdict.message
