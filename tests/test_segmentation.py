"""Networks with an answer for every voxel: shapes, the sliding window against the all-convolutional form, skips."""

import numpy as np
import pytest
import torch
from notebook_code import defined_in
from scipy.spatial.distance import cdist
from torch import nn

from mrctlib.course.exercises.core import check
from mrctlib.course.exercises.lab6 import hd95
from mrctlib.course.networks.segmentation import UNet, VNet

PatchClassifier, sliding_window, all_convolutional, DilatedNetwork = defined_in(
    "lectures/03_from_images_to_voxels.ipynb",
    "PatchClassifier",
    "sliding_window",
    "all_convolutional",
    "DilatedNetwork",
)


@pytest.mark.parametrize(
    "network",
    [UNet(4, 2, 4, 2), UNet(4, 2, 4, 3, skips=False), VNet(4, 2, 4, 2, dims=2)],
    ids=["u-net", "no skips", "v-net"],
)
def test_every_pixel_gets_a_score_for_every_class(network):
    out = network(torch.randn(2, 2, 32, 24))
    assert out.shape == (2, 4, 32, 24)
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_dilated_network_keeps_the_size():
    assert DilatedNetwork(4, 6)(torch.randn(2, 1, 32, 24)).shape == (2, 4, 32, 24)


def test_v_net_takes_volumes():
    assert VNet(3, 1, 4, 2)(torch.randn(2, 1, 8, 16, 12)).shape == (2, 3, 8, 16, 12)


def test_the_sliding_window_and_the_all_convolutional_network_are_the_same():
    torch.manual_seed(0)
    network = PatchClassifier(4, base=8).eval()
    image = torch.randn(1, 40, 33)
    with torch.no_grad():
        slow = sliding_window(network, image, network.window)
        fast = all_convolutional(network, 9)(image[None])[0]
    assert slow.shape == fast.shape == (4, 20, 13)
    assert (slow - fast).abs().max() < 1e-5
    # Not by being constant.
    assert slow.std() > 1e-3


def test_the_two_forms_share_no_memory():
    network = PatchClassifier(2, base=4)
    other = all_convolutional(network, 9)
    before = [p.clone() for p in network.parameters()]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def reach(network: nn.Module, size: int = 65) -> int:
    """Width of the input that the gradient of the middle output touches."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.1)
    image = torch.rand(1, 1, size, size, requires_grad=True)
    network.eval()(image)[0, 0, size // 2, size // 2].backward()
    columns = torch.nonzero(image.grad[0, 0].abs().sum(0))
    return int(columns.max() - columns.min()) + 1


def test_the_dilated_network_sees_as_far_as_its_dilations_say():
    assert reach(DilatedNetwork(1, base=2)) == 1 + 2 * sum(DilatedNetwork.dilations)


def test_skips_are_what_makes_the_difference():
    torch.manual_seed(0)
    with_skips, without = UNet(2, base=4, depth=2), UNet(2, base=4, depth=2, skips=False)
    assert sum(p.numel() for p in without.parameters()) < sum(p.numel() for p in with_skips.parameters())
    for network in (with_skips, without):
        for up in network.up:  # nothing comes up from below: only a skip can carry the image
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)
        network.eval()
    image = torch.randn(1, 1, 16, 16)
    assert with_skips(image).std() > 0.01
    silent = without(image)[:, :, 4:-4, 4:-4]
    assert torch.allclose(silent, silent[..., :1, :1].expand_as(silent), atol=1e-5)


def distances_pixel_by_pixel(a, b, spacing):
    """Every border pixel against every other, without a distance transform."""

    def border(mask):
        wide = np.pad(mask, 1)
        neighbours = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
        return np.argwhere(mask & ~neighbours) * spacing

    apart = cdist(border(a), border(b))
    return np.percentile([*apart.min(1), *apart.min(0)], 95)


def test_the_distance_of_two_borders():
    a, b = np.zeros((2, 20, 30), bool)
    a[5:10, 5:10] = True
    b[5:10, 8:13] = True  # the same square, 3 pixels to the right
    assert hd95(a, a, (1.0, 2.0)) == 0 and hd95(a, b, (1.0, 2.0)) == pytest.approx(6.0)
    assert check("segmentation.hd95", distances_pixel_by_pixel).status == "right"
