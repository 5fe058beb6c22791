"""What came after 2017: blocks, what they are born with, and painting what was hidden."""

import pytest
import torch

from mrctlib.course.networks.patches import AttentionBlock, ConvNeXtBlock, VisionTransformer, convnext, resnet
from mrctlib.course.shelf.transfer import PATCH, SIZE, classifier, hidden_error, hide, painter


@pytest.mark.parametrize("features", [resnet(4, 8, 2), convnext(4, 8, 2), VisionTransformer(SIZE, 4, 8, 2)])
def test_features_lie_on_a_map_of_patches(features):
    assert features(torch.randn(2, 1, *SIZE)).shape == (2, 8, SIZE[0] // 4, SIZE[1] // 4)


def test_attention_does_not_know_places_and_a_transformer_does():
    torch.manual_seed(0)
    order, patches = torch.randperm(12), torch.randn(1, 12, 16)
    block = AttentionBlock(16).eval()
    assert torch.allclose(block(patches)[:, order], block(patches[:, order]), atol=1e-5)
    network = VisionTransformer((8, 8), 4, 16, 1).eval()
    image = torch.randn(1, 1, 8, 8)
    assert not torch.allclose(
        network(image).flip(2), network(image.unflatten(2, (2, 4)).flip(2).flatten(2, 3)), atol=1e-3
    )


def test_a_convnext_block_mixes_places_in_each_channel_alone():
    block = ConvNeXtBlock(4)
    assert block.places.weight.shape == (4, 1, 7, 7)
    x = torch.randn(1, 4, 9, 9)
    changed = x.clone()
    changed[:, :, 0, 0] += torch.randn(4)
    moved = (block(x) - block(changed)).abs().amax((0, 1)) > 1e-7
    assert moved[:4, :4].all() and not moved[4:].any() and not moved[:, 4:].any()


def test_what_is_hidden_is_what_counts():
    torch.manual_seed(0)
    images = torch.rand(3, 1, *SIZE) + 0.5
    shown, asked = hide(images, images)
    image, hidden = asked.split(1, 1)
    assert (
        torch.equal(image, images)
        and (shown[hidden == 1] == 0).all()
        and torch.equal(shown[hidden == 0], images[hidden == 0])
    )
    assert 0.4 < hidden.mean() < 0.8 and hidden[0, 0, :PATCH, :PATCH].unique().numel() == 1
    wrong_where_seen = torch.where(hidden == 1, images, images + 5)
    assert hidden_error(images, asked) == hidden_error(wrong_where_seen, asked) == 0
    assert hidden_error(images + 1, asked).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["ResNet", "ConvNeXt", "ViT"])
def test_a_network_can_paint_and_classify(name):
    network = classifier(name)
    assert network(torch.rand(2, 1, *SIZE)).shape == (2, 3)
    assert painter(network[0])(torch.rand(2, 1, *SIZE)).shape == (2, 1, *SIZE)
