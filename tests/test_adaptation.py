"""Domain adaptation: the gradient that turns round, the adversary, and a game that `fit` can play."""

import pytest
import torch
import torch.nn.functional as F
from notebook_code import defined_in
from torch import nn

from mrctlib.course.exercises.lecture8 import reverse_gradient
from mrctlib.course.networks.segmentation import UNet
from mrctlib.training.supervised import fit, predict

DomainClassifier, AdversarialUNet, _ = defined_in(
    "lectures/08_gans_in_medicine.ipynb", "DomainClassifier", "AdversarialUNet", "reverse_gradient"
)


def test_forwards_nothing_changes_and_backwards_the_gradient_turns_round():
    features = torch.randn(2, 3, 4, requires_grad=True)
    weights = torch.randn_like(features)
    passed = reverse_gradient(features, 0.3)
    assert torch.equal(passed, features)
    (passed * weights).sum().backward()
    assert torch.allclose(features.grad, -0.3 * weights)


def test_the_last_layers_descend_what_the_first_climb():
    """One step on one loss: each player gains while the other is held as it was."""
    torch.manual_seed(0)
    images, scanner = torch.randn(64, 5), torch.randint(2, (64, 1)).float()
    first, last = nn.Linear(5, 4), nn.Linear(4, 1)

    def loss(features: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(last(features), scanner)

    before = loss(first(images)).item()
    old = first(images).detach()
    loss(reverse_gradient(first(images))).backward()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter -= 0.1 * parameter.grad
        assert loss(first(images)) > before
        for parameter in last.parameters():
            parameter -= 0.1 * parameter.grad
        assert loss(old) < before


def test_the_domain_classifier_sees_patches_of_15_pixels():
    assert DomainClassifier(6, base=4)(torch.randn(2, 6, 15, 15)).shape == (2, 1, 1, 1)
    image = torch.randn(1, 6, 31, 31, requires_grad=True)
    DomainClassifier(6, base=4)(image)[..., 0, 0].sum().backward()
    touched = image.grad[0].abs().sum(0) > 0
    assert touched[:15, :15].any() and not touched[15:].any() and not touched[:, 15:].any()
    assert touched.any(0).sum() == touched.any(1).sum() == 15


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(4, base=4, depth=2)


def test_a_single_slice_is_mapped_as_by_the_unet_itself(unet):
    images = torch.randn(3, 1, 24, 20)
    assert torch.equal(predict(AdversarialUNet(unet, 0.1), images), predict(unet, images))
    assert isinstance(unet.last, nn.Conv2d)  # the copy alone was changed


def test_a_pair_gives_the_map_of_the_first_and_scanner_scores_of_both(unet):
    network = AdversarialUNet(unet, 0.1).eval()
    pairs = torch.randn(3, 2, 24, 20)
    tissues, scanners = network(pairs)
    assert tissues.shape == (3, 4, 24, 20)
    assert scanners.shape[:2] == (6, 1)
    assert torch.allclose(tissues, network(pairs[:, :1]), atol=1e-6)
    swapped = network(pairs.flip(1))[1]
    assert torch.allclose(swapped, scanners.roll(3, 0), atol=1e-6)


def test_the_adversary_alone_pulls_on_the_features_in_the_opposite_sense(unet):
    def gradient(strength: float) -> torch.Tensor:
        torch.manual_seed(1)
        network = AdversarialUNet(unet, strength)
        network(torch.linspace(-1, 1, 2 * 2 * 24 * 20).view(2, 2, 24, 20))[1].sum().backward()
        return network.features.first[0].weight.grad

    assert gradient(1.0).abs().max() > 1e-4
    assert torch.allclose(gradient(1.0), -gradient(-1.0))
    assert torch.allclose(gradient(0.0), torch.zeros(1))


def test_other_numbers_of_channels_are_refused(unet):
    with pytest.raises(ValueError, match="too many values"):
        AdversarialUNet(unet, 0.1)(torch.randn(1, 3, 24, 20))


def test_fit_plays_the_game_and_the_features_of_a_noisy_scanner_come_near():
    """With more noise on the other scanner: without reversal the adversary tells the two apart, with it hardly."""
    torch.manual_seed(0)
    labels = (torch.rand(16, 6, 5) < 0.5).repeat_interleave(4, 1).repeat_interleave(4, 2).long()
    clear = labels[:, None] + 0.1 * torch.randn(16, 1, 24, 20)
    pairs = torch.cat([clear, clear.roll(1, 0) + 0.5 * torch.randn_like(clear)], 1)

    def loss(said: tuple[torch.Tensor, torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
        tissues, scanners = said
        from_a = torch.zeros_like(scanners)
        from_a[: len(truth)] = 1
        return F.cross_entropy(tissues, truth) + F.binary_cross_entropy_with_logits(scanners, from_a)

    def told_apart(strength: float) -> float:
        """Mean probability of the first scanner that the adversary gives to its slices, less that for the other's."""
        torch.manual_seed(0)
        network = AdversarialUNet(UNet(2, base=4, depth=1), strength)
        fit(network, pairs, labels, loss, steps=60, batch=8, rate=1e-2)
        whole = nn.Sequential(network.features, network.adversary, nn.Sigmoid())
        a, b = (predict(whole, part).mean() for part in pairs.split(1, 1))
        return float(a - b)

    assert told_apart(0.0) > 0.8
    assert told_apart(1.0) < 0.5
