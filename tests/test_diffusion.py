"""Diffusion: the circle from image to noise and back, a denoiser that learns, guidance."""

import math

import pytest
import torch

from mrctlib.course.diffusion import angle, guided, learn_to_denoise, sample
from mrctlib.course.exercises.lecture9 import denoising_loss, turn_back
from mrctlib.course.networks.diffusion import Denoiser
from mrctlib.runtime import InputError


@pytest.mark.parametrize("told", ["nothing", "a class", "an image"])
def test_a_denoiser_keeps_the_form_and_begins_by_saying_nothing(told):
    network = Denoiser(8, 2, classes=3 * (told == "a class"), seen=int(told == "an image"))
    given = {"nothing": None, "a class": torch.tensor([0, 3]), "an image": torch.randn(2, 1, 16, 24)}[told]
    made = network(torch.randn(2, 1, 16, 24), torch.rand(2), given)
    assert made.shape == (2, 1, 16, 24) and not made[0, 0, ::2].abs().max() > 0.2


def test_who_knows_the_turn_comes_back_to_the_image():
    image, noise = torch.rand(3, 1, 8, 8) * 2 - 1, torch.randn(3, 1, 8, 8)

    def knows(x, t):
        cos, sin = angle(t, x)
        return cos * noise - sin * image

    for steps in (1, 5):
        assert torch.allclose(sample(knows, noise, steps)[-1], image, atol=1e-5)


def test_the_library_turns_back_as_the_student_does():
    turns = [torch.randn(2, 1, 4, 4) for _ in range(4)]
    x = noise = 0.2 * torch.randn(2, 1, 4, 4)  # small: the library cuts off what no image can be
    queue = iter(turns)
    seen = sample(lambda x, t: next(queue) * 0.1, noise, 4)
    angles = torch.linspace(math.pi / 2, 0, 5)
    for turn, now, after, image in zip(turns, angles[:-1], angles[1:], seen, strict=True):
        x, thought = turn_back(x, turn * 0.1, float(now), float(after))
        assert torch.allclose(thought, image, atol=1e-5)


def test_the_loss_falls_and_the_training_goes_on(tmp_path):
    images = torch.randn(64, 1, 1, 1).expand(-1, 1, 8, 8).clamp(-1, 1).contiguous()  # even grey
    given = {"batch": 16, "rate": 3e-3, "average": 0.9, "seed": 0, "name": "grey", "watch_every": 20}
    network = Denoiser(8, 1)
    history = learn_to_denoise(network, images, steps=60, folder=tmp_path, **given)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"] and not network.training
    again = Denoiser(8, 1)  # finds the checkpoint of the end
    learn_to_denoise(again, images, steps=60, folder=tmp_path, **given)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))
    with pytest.raises(InputError, match="of another training"):
        learn_to_denoise(again, images / 2, steps=60, folder=tmp_path, **given)


def test_forgetting_teaches_what_it_is_without_being_told():
    images, told = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    network = Denoiser(8, 1, classes=2)
    before = network.kind.weight[2].clone()
    given = {"steps": 8, "batch": 8, "rate": 1e-2, "average": 0.0, "seed": 0, "name": "told"}
    learn_to_denoise(network, images, told, **given, forget=0.5, none=2)
    assert not torch.equal(before, network.kind.weight[2])


def test_guidance_goes_beyond_what_was_asked():
    def network(x, t, told):
        return told.view(-1, 1, 1, 1).float().expand_as(x)

    x, t, told = torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.tensor([3, 5])
    assert torch.equal(guided(network, told, 1, 1.0)(x, t), network(x, t, told))
    assert guided(network, told, 1, 3.0)(x, t)[:, 0, 0, 0].tolist() == [7.0, 13.0]


def test_the_loss_is_that_of_the_library():
    image, noise, t = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.tensor([0.2, 0.7])
    cos, sin = angle(t, image)
    turn = cos * noise - sin * image
    assert denoising_loss(lambda x, a: turn, image, noise, (t * math.pi / 2).view(-1, 1, 1, 1)) < 1e-10
