"""Other right ways to write a CycleGAN are ticked. (Known slips: test_exercises.)"""

import pytest
import torch
import torch.nn.functional as F

from mrctlib.course.exercises.core import check
from mrctlib.training.descent import descend


def squared(scores, real, weight):
    target = torch.full_like(scores, float(real))
    return torch.sum(weight * F.mse_loss(scores, target, reduction="none")) / weight.sum()


def squared_by_case(scores, real, weight):
    share = weight / weight.sum()
    return ((1 - scores) ** 2 * share).sum() if real else (scores**2 * share).sum()


def trip(x, there, back, noise):
    fake = there(x)
    noisy = torch.randn(fake.shape) * noise + fake
    return fake, back(noisy)


def trip_with_the_noise_first(x, there, back, noise):
    grain = torch.randn_like(x).mul(noise)
    fake = there(x)
    return fake, back(grain.add(fake))


def wishes(judge, fakes, real, returned):
    losses = {"gan": 0, "cycle": 0}
    for name in ("mr", "ct"):
        losses["gan"] += judge(name, fakes[name], real=True)
        losses["cycle"] += F.l1_loss(returned[name], real[name])
    return losses


def wishes_at_once(judge, fakes, real, returned):
    cycle = torch.cat([(real[name] - returned[name]).abs() for name in real]).mean() * 2
    return dict(gan=judge("mr", fakes["mr"], True) + judge("ct", fakes["ct"], True), cycle=cycle)


def verdict(judge, fakes, real):
    total = 0
    for name in fakes:
        total += 0.5 * judge(name, fakes[name].detach(), real=False)
        total += 0.5 * judge(name, real[name], real=True)
    return total


def verdict_of_copies(judge, fakes, real):
    fakes = {name: image.detach() for name, image in fakes.items()}
    ct = judge("ct", real["ct"], True) + judge("ct", fakes["ct"], False)
    mr = judge("mr", real["mr"], True) + judge("mr", fakes["mr"], False)
    return (ct + mr) / 2


def memory(kept, fakes, capacity, slots):
    shown = fakes.clone()
    for n in range(len(fakes)):
        if len(kept) < capacity:
            kept.append(fakes[n].clone())
        elif slots[n] is not None:
            shown[n] = kept[slots[n]]
            kept[slots[n]] = fakes[n].clone()
    return shown


def memory_that_pops(kept, fakes, capacity, slots):
    shown = []
    for fake, slot in zip(fakes, slots, strict=True):
        if len(kept) == capacity and slot in range(capacity):
            shown.append(kept.pop(slot))
            kept.insert(slot, fake)
            continue
        if len(kept) < capacity:
            kept += [fake]
        shown.append(fake)
    return torch.stack(shown)


def step_by_weight(discriminators, optimisers, generators_turn, discriminators_turn):
    for weight in discriminators.parameters():
        weight.requires_grad = False
    loss, fakes = generators_turn()
    optimisers["generators"].zero_grad()
    loss.backward()
    optimisers["generators"].step()
    for weight in discriminators.parameters():
        weight.requires_grad = True
    descend(optimisers["discriminators"], discriminators_turn(fakes))


def step_with_a_try(discriminators, optimisers, generators_turn, discriminators_turn):
    discriminators.requires_grad_(False)
    try:
        loss, fakes = generators_turn()
        descend(optimisers["generators"], loss)
    finally:
        discriminators.requires_grad_(True)
    judged = discriminators_turn(fakes)
    descend(optimisers["discriminators"], judged)


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("least_squares_gan", (squared, squared_by_case)),
        ("round_trip", (trip, trip_with_the_noise_first)),
        ("generators_loss", (wishes, wishes_at_once)),
        ("discriminators_loss", (verdict, verdict_of_copies)),
        ("remember", (memory, memory_that_pops)),
        ("take_step", (step_by_weight, step_with_a_try)),
    ],
)
def test_two_other_right_ways_are_ticked(name, answers):
    for answer in answers:
        found = check(f"translation.{name}", answer)
        assert found.status == "right", found
