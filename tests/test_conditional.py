"""Conditional networks: shapes, ranges, that the condition matters and how, and that the game can be won."""

import pytest
import torch
from notebook_code import defined_in
from torch import nn

from mrctlib.course.exercises.lab5 import condition_planes
from mrctlib.course.networks.conditional import ConditionalGenerator, ProjectionDiscriminator, projection
from mrctlib.runtime import InputError, seed_everything
from mrctlib.training.gan import make, play

_, PlanesDiscriminator, EmbeddingDiscriminator = defined_in(
    "labs/05_conditional_gan.ipynb", "condition_planes", "PlanesDiscriminator", "EmbeddingDiscriminator"
)
DISCRIMINATORS = [PlanesDiscriminator, EmbeddingDiscriminator, ProjectionDiscriminator]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_planes_are_flat_and_in_order():
    conditions = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    planes = condition_planes(conditions, 6)
    assert planes.shape == (2, 2, 6, 6)
    assert torch.equal(planes.amax((2, 3)), conditions) and torch.equal(planes.amin((2, 3)), conditions)


def test_projection_is_the_inner_product_of_each_pair():
    features, told = torch.randn(5, 7), torch.randn(5, 7)
    assert torch.allclose(projection(features, told), (features @ told.T).diagonal(), atol=1e-5)


@pytest.mark.parametrize("size", [28, 32, 64])
def test_images_have_the_size_and_range_that_were_asked_for(size):
    images = ConditionalGenerator(5, 3, size, base=2)(torch.randn(4, 5), torch.randn(4, 3))
    assert images.shape == (4, 1, size, size) and images.abs().max() <= 1
    assert ProjectionDiscriminator(3, size, base=2)(images, torch.randn(4, 3)).shape == (4,)


@pytest.mark.parametrize("size", [30, 7, 36])
@pytest.mark.parametrize(
    "build", [lambda size: ConditionalGenerator(5, 3, size), lambda size: ProjectionDiscriminator(3, size)]
)
def test_a_size_that_does_not_halve_is_refused(build, size):
    with pytest.raises(InputError, match=f"images of {size} pixels: take"):
        build(size)


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_every_weight_learns_and_the_slope_at_the_image_depends_on_the_condition(kind):
    discriminator = kind(2, base=2).eval()  # batch normalisation would mix the images of a batch
    images = torch.randn(1, 1, 28, 28).repeat(2, 1, 1, 1).requires_grad_()
    discriminator(images, torch.eye(2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())
    # Were the condition only added to the score, both rows would have the same slope: nothing for the generator.
    assert not torch.allclose(images.grad[0], images.grad[1])


def test_the_first_layer_of_the_generator_is_an_embedding_of_the_class():
    generator = ConditionalGenerator(5, 3, base=2)
    first = generator.layers[0]
    noise = torch.randn(3, 5)
    told = first(torch.cat([noise, torch.eye(3)], 1)) - first(torch.cat([noise, torch.zeros(3, 3)], 1))
    assert torch.allclose(told, first.weight[:, 5:].T, atol=1e-5)


def test_projection_scores_are_linear_in_the_condition():
    discriminator = ProjectionDiscriminator(3, base=2).eval()
    images, a, b = torch.randn(4, 1, 28, 28), torch.randn(4, 3), torch.randn(4, 3)
    middle = (discriminator(images, a) + discriminator(images, b)) / 2
    assert torch.allclose(discriminator(images, (a + b) / 2), middle, atol=1e-5)


def test_the_first_convolution_is_not_normalised():
    for kind in DISCRIMINATORS:
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in kind(2, base=2).features[:3])


def test_the_game_teaches_bright_and_dark():
    """Two classes, a bright and a dark square: after a short game the brightness is the one that was asked for."""
    conditions = torch.eye(2).repeat(32, 1)
    real = (1.6 * conditions[:, :1] - 0.8)[:, :, None, None] + 0.05 * torch.randn(64, 1, 28, 28)
    seed_everything(0, "test")
    generator, discriminator = ConditionalGenerator(4, 2, base=4), ProjectionDiscriminator(2, base=4)
    play(generator, discriminator, real, conditions, noise=4, steps=150, batch=16, rate=2e-3)
    brightness = make(generator, torch.randn(20, 4), torch.eye(2).repeat(10, 1)).mean((1, 2, 3))
    print(brightness)
    assert (brightness[::2] > 0.3).all() and (brightness[1::2] < -0.3).all()
