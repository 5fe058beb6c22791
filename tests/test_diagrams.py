"""Diagrams show the sizes that a network has."""

import pytest
import torch

from mrctlib import plots
from mrctlib.course import diagrams
from mrctlib.course.networks.segmentation import UNet


def words(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


@pytest.mark.parametrize("skips", [True, False])
def test_a_unet_is_drawn_with_its_own_sizes(skips):
    network = UNet(5, base=4, depth=2, skips=skips)
    figure = diagrams.unet(network, torch.zeros(1, 1, 16, 24))
    said = words(figure)
    assert {"1 × 16 × 24", "4 × 16 × 24", "8 × 8 × 12", "16 × 4 × 6", "5 × 16 × 24"} <= set(said)
    assert not any(hook for part in network.modules() for hook in part._forward_hooks)
    assert len(plots.png(figure)) > 5000


def test_the_others_are_drawn():
    assert {"forget\nσ", "new\ntanh", "keep"} <= set(words(diagrams.lstm_cell()))
    assert "2 kernels of 3 × 3 × 3" in words(diagrams.kernel_over_channels())
