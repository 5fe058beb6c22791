"""Style transfer: what the losses see and do not see, and that pixels move while the network stays."""

from pathlib import Path

import pytest
import torch
import torchvision
from notebook_code import defined_in

from mrctlib.course.lecture7 import VggMaps, local_vgg

content_loss, gram, style_loss, total_variation, FeatureNetwork, paint = defined_in(
    "lectures/07_image_to_image.ipynb",
    *("content_loss", "gram", "style_loss", "total_variation", "FeatureNetwork", "paint"),
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FeatureNetwork(classes=5, widths=(3, 6))


def test_maps_get_coarser_and_deeper(network):
    images = torch.randn(2, 1, 16, 24)
    assert [tuple(maps.shape) for maps in network.maps(images)] == [(2, 3, 16, 24), (2, 6, 8, 12)]
    assert network(images).shape == (2, 5)


def test_scores_know_roughly_where(network):
    images = torch.zeros(1, 1, 16, 16)
    images[..., 4:6, 4:6] = 1
    assert not torch.allclose(network(images), network(images.roll(8, 3)), atol=1e-4)  # to another of the 4 x 4 places
    last = network.maps(images)[-1]
    places = last.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    assert torch.allclose(network(images), network.scores(places.flatten(1)), atol=1e-6)


def test_gram_by_hand():
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # one image, two channels, 1 x 2 places
    assert torch.allclose(gram(maps), torch.tensor([[[2.5, 0.5], [0.5, 5.0]]]))


def test_gram_forgets_where():
    maps = torch.randn(1, 4, 5, 6)
    shuffled = maps.flatten(2)[..., torch.randperm(30)].reshape(maps.shape)
    assert torch.allclose(gram(maps), gram(shuffled), atol=1e-6)
    assert content_loss(shuffled, maps) > 0.5
    assert style_loss([shuffled], [gram(maps)]) < 1e-10


def test_losses_are_shares():
    maps = torch.randn(1, 4, 5, 6)
    assert content_loss(maps, maps) == 0
    assert torch.isclose(content_loss(torch.zeros_like(maps), maps), torch.tensor(1.0))
    wanted = [gram(maps), gram(2 * maps)]
    assert torch.isclose(style_loss([maps, torch.zeros_like(maps)], wanted), torch.tensor(0.5))  # mean of 0 and 1
    with pytest.raises(ValueError, match="zip"):
        style_loss([maps], wanted)


def test_total_variation_counts_steps():
    assert total_variation(torch.full((1, 1, 4, 4), 3.0)) == 0
    stripes = torch.tensor([0.0, 1.0]).repeat(2).expand(1, 1, 4, 4)
    assert total_variation(stripes) == 1


def test_paint_goes_downhill_and_leaves_the_network_alone(network):
    before = [parameter.clone() for parameter in network.parameters()]
    wanted, start = 2 * torch.rand(1, 1, 8, 8) - 1, 0.3 * torch.randn(1, 1, 8, 8)
    kept = start.clone()
    target = network.maps(wanted)[0].detach()

    def loss(pixels):
        return content_loss(network.maps(pixels)[0], target)

    painted = paint(loss, start, steps=100)
    assert loss(painted) < 0.1 * loss(start)
    assert torch.equal(start, kept) and not painted.requires_grad
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, network.parameters(), strict=True))


def test_paint_stays_in_range():
    painted = paint(lambda pixels: -pixels.sum(), torch.zeros(1, 1, 2, 2), steps=60)
    assert (painted == 1).all()


def test_vgg_is_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert local_vgg() is None
    assert not list(tmp_path.iterdir())


def test_vgg_maps_are_those_of_torchvision(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["E"])
    name = Path(torchvision.models.VGG19_Weights.IMAGENET1K_V1.url).name
    (tmp_path / "checkpoints").mkdir()
    tensors = {f"features.{key}": value for key, value in features.state_dict().items()}
    torch.save(tensors | {"classifier.0.bias": torch.zeros(1)}, tmp_path / "checkpoints" / name)
    found = local_vgg()
    assert isinstance(found, VggMaps)
    image = 2 * torch.rand(1, 1, 32, 32) - 1
    maps = found.maps(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        expected = features[:21](normalise((image / 2 + 0.5).expand(-1, 3, -1, -1)))  # 21 layers: up to relu4_1
    assert torch.allclose(maps[-1], expected, atol=1e-5)
