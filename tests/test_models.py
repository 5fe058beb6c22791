"""Networks: shapes, parameter counts, receptive fields measured and computed, the image pool."""

import pytest
import torch

from mrctlib.course.complexity import kernels_and_strides, receptive_field
from mrctlib.models.translation import (
    ImagePool,
    PatchDiscriminator,
    ResidualBlock,
    ResnetGenerator,
    UnetGenerator,
)


@pytest.mark.parametrize("network", [ResnetGenerator(4, 2), ResnetGenerator(4, 1, 3), UnetGenerator(4, 3)])
@pytest.mark.parametrize("shape", [(32, 32), (48, 64)])
def test_generators_keep_the_shape_and_the_range(network, shape):
    with torch.no_grad():
        out = network(torch.randn(2, 1, *shape))
    assert out.shape == (2, 1, *shape) and out.abs().max() <= 1


def test_the_reference_generator_has_the_published_size():
    # 11.378 million weights with biases for 3-channel images in the authors' code; ours has 1 channel and no biases
    # before a normalisation, where they would be taken out again.
    weights = sum(p.numel() for p in ResnetGenerator(64, 9).parameters())
    three_channels = weights + 2 * 2 * 64 * 49 + 2
    biases = 64 + 128 + 256 + 18 * 256 + 128 + 64
    assert three_channels + biases == 11_378_179


def test_a_residual_block_with_silent_layers_is_the_identity():
    block = ResidualBlock(4)
    torch.nn.init.zeros_(block.f[3].weight)
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("layers", "size"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_is_what_a_gradient_sees(layers, size):
    network = PatchDiscriminator(2, layers)
    assert receptive_field(kernels_and_strides(network)) == size
    # Without the normalisations, which look at the whole image, only the patch can move the middle score.
    plain = torch.nn.Sequential(*(m for m in network.layers if not isinstance(m, torch.nn.GroupNorm)))
    torch.manual_seed(0)
    image = torch.randn(1, 1, 160, 160, requires_grad=True)
    scores = plain(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(1)).flatten()
    assert int(rows[-1] - rows[0]) + 1 == size


def test_the_pool_keeps_its_size_and_hands_out_old_fakes():
    torch.manual_seed(0)
    pool = ImagePool(4)
    first = torch.zeros(4, 1, 2, 2)
    assert torch.equal(pool.query(first), first) and len(pool.images) == 4
    shown = torch.cat([pool.query(torch.full((4, 1, 2, 2), float(i))) for i in range(1, 20)])
    assert len(pool.images) == 4
    newest = torch.arange(1, 20).repeat_interleave(4)
    share_old = (shown[:, 0, 0, 0] != newest).float().mean()
    assert 0.3 < share_old < 0.7


def test_nothing_in_the_pool_carries_a_gradient():
    pool = ImagePool(2)
    assert not pool.query(torch.randn(3, 1, 2, 2, requires_grad=True)).requires_grad
