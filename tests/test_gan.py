"""Generators and discriminators: shapes, ranges, the paper's start, and that the game can be won."""

import pytest
import torch
from torch import nn

from mrctlib.course.exercises.lab3 import MultiLayerDiscriminator, MultiLayerGenerator
from mrctlib.course.networks.gan import Discriminator, Generator, GrainyGenerator
from mrctlib.losses import cross_entropy_gan


@pytest.mark.parametrize("latent, channels, base", [(64, 3, 32), (10, 1, 8)])
def test_shapes_and_range(latent, channels, base):
    images = Generator(latent, channels, base)(torch.randn(5, latent))
    assert images.shape == (5, channels, 32, 32) and images.abs().max() <= 1
    assert Discriminator(channels, base)(images).shape == (5,)


@pytest.mark.parametrize("first", [4, 7])
def test_grain_at_the_size_that_the_first_map_sets(first):
    generator, noise = GrainyGenerator(10, 8, first).eval(), torch.randn(1, 10)
    images = torch.cat([generator(noise), generator(noise)])
    assert images.shape == (2, 1, 8 * first, 8 * first) and images.abs().max() <= 1
    assert not torch.equal(*images)  # the same noise twice, each time with grain of its own
    assert Discriminator(1, 8, first)(images).shape == (2,)


def test_one_image_gives_one_score():
    assert Discriminator(base=4).eval()(torch.rand(1, 3, 32, 32)).shape == (1,)


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    for network in (Generator(), Discriminator()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.weight.mean().abs() < 0.002 and 0.018 < layer.weight.std() < 0.022
            if isinstance(layer, nn.BatchNorm2d):
                assert (layer.weight - 1).abs().mean() < 0.05 and layer.bias.abs().max() == 0
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in list(Discriminator())[:2])


def test_every_weight_learns():
    generator, discriminator = Generator(8, base=4), Discriminator(base=4)
    cross_entropy_gan(discriminator(generator(torch.randn(6, 8))), True).backward()
    for name, weight in [*generator.named_parameters(), *discriminator.named_parameters()]:
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("latent", [10, 3])
def test_multi_layer_shapes_and_range(latent):
    images = MultiLayerGenerator(latent)(5 * torch.randn(4, latent))
    assert images.shape == (4, 1, 28, 28) and 0.01 < images.abs().max() <= 1
    scores = MultiLayerDiscriminator()(images)
    assert scores.shape == (4,) and not torch.equal(scores.sign(), scores)  # no sigmoid, no sign: plain scores


def test_multi_layer_widths():
    def widths(network):
        return [tuple(layer.weight.shape) for layer in network if isinstance(layer, nn.Linear)]

    assert widths(MultiLayerGenerator()) == [(256, 10), (512, 256), (1024, 512), (784, 1024)]
    assert widths(MultiLayerDiscriminator()) == [(1024, 784), (512, 1024), (256, 512), (1, 256)]


def test_every_multi_layer_weight_learns():
    generator, discriminator = MultiLayerGenerator(), MultiLayerDiscriminator()
    cross_entropy_gan(discriminator(generator(torch.randn(6, 10))), True).backward()
    for name, weight in [*generator.named_parameters(), *discriminator.named_parameters()]:
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_the_game_teaches_the_colour_of_the_data():
    """Against flat red images, a hundred steps turn grey fakes red."""
    torch.manual_seed(0)
    generator, discriminator = Generator(8, base=4), Discriminator(base=4)
    players = [torch.optim.Adam(n.parameters(), 5e-3, betas=(0.5, 0.999)) for n in (generator, discriminator)]
    red = torch.tensor([0.8, -0.8, -0.8]).view(1, 3, 1, 1)
    colour = [generator(torch.randn(8, 8)).mean((0, 2, 3)).detach()]
    for _ in range(100):
        real = (red + 0.1 * torch.randn(8, 3, 32, 32)).clamp(-1, 1)
        fake = generator(torch.randn(8, 8))
        players[1].zero_grad()
        loss = cross_entropy_gan(discriminator(real), True) + cross_entropy_gan(discriminator(fake.detach()), False)
        loss.backward()
        players[1].step()
        players[0].zero_grad()
        cross_entropy_gan(discriminator(fake), True).backward()
        players[0].step()
    colour.append(generator(torch.randn(8, 8)).mean((0, 2, 3)).detach())
    before, after = ((c - red.flatten()).norm() for c in colour)
    assert before > 1 and after < 0.7 * before
