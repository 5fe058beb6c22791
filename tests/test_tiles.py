"""Tile by tile is the same as in one pass, where the margin covers what the network sees, and only there."""

import pytest
import torch
from notebook_code import defined_in
from torch import nn

from mrctlib.course.networks.segmentation import UNet

mirror_padded, predict_in_tiles, predict_whole = defined_in(
    "labs/06_segmentation_with_pix2pix.ipynb", "mirror_padded", "predict_in_tiles", "predict_whole"
)


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(0)
    network = UNet(3, base=4, depth=2)
    for _ in range(20):  # so that its batch normalisation knows means and variances other than 0 and 1
        network(torch.randn(4, 1, 32, 32) * 2 + 1)
    return network.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 100, 90, generator=torch.Generator().manual_seed(1)) * 2 + 1


def test_with_enough_margin_the_two_ways_agree(network, image):
    whole, tiles = predict_whole(network, image, 32), predict_in_tiles(network, image, 32)
    assert whole.shape == tiles.shape == (3, 100, 90)
    assert (whole - tiles).abs().max() < 1e-5 < whole.std()


def test_away_from_the_border_mirrored_or_not_is_the_same(network, image):
    with torch.no_grad():
        plain = network(image[None, :, :, :88])[0]
    tiles = predict_in_tiles(network, image, 32)
    assert (plain - tiles[..., :88])[:, 24:-24, 24:-24].abs().max() < 1e-5
    assert (plain - tiles[..., :88]).abs().max() > 1e-3


def test_less_margin_leaves_seams(network, image):
    whole = predict_whole(network, image, 32)
    differences = [float((whole - predict_in_tiles(network, image, 32, margin)).abs().max()) for margin in (0, 8, 24)]
    assert differences[0] > differences[1] > 1e-4 > 1e-5 > differences[2]


def test_a_margin_that_is_no_multiple_of_the_stride_moves_the_pooling_grid(network, image):
    # The whole image is mirrored by 24; margins of 26 are wide enough, and still differ.
    assert (predict_whole(network, image, 32) - predict_in_tiles(network, image, 32, 26)).abs().max() > 1e-3


def test_instance_normalisation_sees_the_whole_tile(image):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4)).eval()
    assert (predict_whole(network, image, 32) - predict_in_tiles(network, image, 32)).abs().max() > 0.01


def test_the_network_stays_in_the_mode_it_was_in(network, image):
    network.train()
    predict_in_tiles(network, image, 32)
    assert network.training
    network.eval()


def test_mirrored_repeats_no_edge_and_fills_whole_tiles():
    ramp = torch.arange(10.0).expand(1, 10, 10)
    wide = mirror_padded(ramp, 2, 8)
    assert wide.shape == (1, 20, 20)  # 2 + 10 + 6 to fill the second tile + 2
    assert wide[0, 5].tolist() == [2, 1, *range(10), 8, 7, 6, 5, 4, 3, 2, 1]


def test_an_image_smaller_than_its_mirror_image_is_refused(network):
    with pytest.raises(RuntimeError, match="size should be less than the corresponding input dimension"):
        predict_in_tiles(network, torch.zeros(1, 20, 20), 16, 24)
