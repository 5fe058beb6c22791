"""Parameter counts of the originals, and receptive fields against what a gradient reaches and what papers say."""

import pytest
import torch
from torch import nn
from torchvision import models

from mrctlib.course.complexity import kernels_and_strides, layers_of, parameter_count, receptive_field
from mrctlib.course.networks import classifiers
from mrctlib.runtime import InputError


def original(name):
    """A network of torchvision with shapes and no weights."""
    without_slow_start = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return models.get_model(name, weights=None, **without_slow_start)


def last_window(layers):
    """The widest receptive field before rows and columns are given up."""
    return max(layer.receptive_field for layer in layers if len(layer.shape) == 3 and layer.shape[1] > 1)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alexnet", 61_100_840),
        ("vgg11", 132_863_336),
        ("vgg16", 138_357_544),
        ("googlenet", 13_004_888),
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("densenet121", 7_978_856),
    ],
)
def test_the_originals_have_their_published_size(name, parameters):
    network = original(name)
    assert parameter_count(network) == parameters
    walked = sum(layer.parameters for layer in layers_of(network))
    assert walked == (6_624_904 if name == "googlenet" else parameters)  # auxiliary heads do not run in evaluation


@pytest.mark.parametrize(
    ("name", "size", "pixels"),
    [("alexnet", 224, 195), ("vgg16", 224, 212), ("inception_v3", 299, 1311)],
)
def test_receptive_fields_are_those_of_araujo_2019(name, size, pixels):
    assert last_window(layers_of(original(name), size)) == pixels


@pytest.mark.parametrize(("name", "pixels"), [("resnet50", 483), ("resnet101", 1027), ("resnet152", 1507)])
def test_receptive_field_of_the_first_resnets(name, pixels):
    network = original(name)
    # Araujo's figures are for the paper's own networks, which halve in the first 1 x 1; torchvision does in the 3 x 3.
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    assert last_window(layers_of(network)) == pixels


class Sum(nn.Module):
    """x + a wide look at x."""

    def __init__(self):
        super().__init__()
        self.first, self.f = nn.Conv2d(1, 2, 3, 2), nn.Sequential(nn.Conv2d(2, 2, 5, padding=2), nn.ReLU())

    def forward(self, x):
        x = self.first(x)
        return x + self.f(x)


class Side(nn.Module):
    """Three looks of different width and shape, side by side, and a functional pool behind them."""

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)
        self.flat = nn.Sequential(nn.Conv2d(1, 2, (1, 7), padding=(0, 3)), nn.Conv2d(2, 2, (3, 1), padding=(1, 0)))

    def forward(self, x):
        branches = torch.cat([self.narrow(x), self.wide(x), self.flat(x)], 1)
        return nn.functional.avg_pool2d(branches, 2, stride=2)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(3, 2), nn.Conv2d(2, 1, 4, 3)),
        nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.AvgPool2d(2), nn.Conv2d(2, 2, 3, dilation=3)),
        Sum(),
        nn.Sequential(Sum(), nn.Conv2d(2, 1, 2)),
        Side(),
        classifiers.BasicBlock(1, 3, 2),
        classifiers.DenseBlock(1, 3, 2),
        nn.Sequential(classifiers.Transition(1, 2), classifiers.BottleneckBlock(2, 1)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_receptive_field_is_what_a_gradient_reaches(network):
    last = layers_of(network, 61, 1)[-1]
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.01)  # nothing cancels, no ReLU falls silent
    image = torch.ones(1, 1, 61, 61, requires_grad=True)
    output = network.eval()(image)
    assert last.shape == output.shape[1:]
    middle = output.shape[2] // 2
    reached = []
    for row in (middle, middle + 1):
        (gradient,) = torch.autograd.grad(output[0, :, row, row].sum(), image, retain_graph=True)
        touched = [torch.nonzero(gradient[0, 0].sum(axis)).flatten() for axis in (0, 1)]
        assert last.receptive_field == max(int(t[-1] - t[0]) + 1 for t in touched)
        reached.append(int(touched[0][0]))
    assert last.stride == reached[1] - reached[0]


def test_a_chain_agrees_with_the_rule_for_chains():
    features = original("vgg16").features
    windows = [(m.kernel_size, m.stride) if isinstance(m, nn.MaxPool2d) else (m.kernel_size[0], m.stride[0])
               for m in features if hasattr(m, "kernel_size")]  # fmt: skip
    assert layers_of(features)[-1].receptive_field == receptive_field(windows)
    assert kernels_and_strides(features) == [(3, 1)] * 13


def test_what_sees_the_whole_image():
    alexnet = {layer.name: layer for layer in layers_of(original("alexnet"))}
    assert alexnet["avgpool"].receptive_field == 195  # 6 x 6 to 6 x 6: nothing is pooled
    assert alexnet["flatten"].receptive_field == alexnet["classifier.6"].receptive_field == 224
    resnet = {layer.name: layer for layer in layers_of(original("resnet18"))}
    assert resnet["avgpool"].receptive_field == resnet["layer4.1.relu"].receptive_field == 435  # wider than the image


@pytest.mark.parametrize("name", ["LeNet", "VGG"])
def test_our_own_networks_can_be_walked(name):
    network = getattr(classifiers, name)()
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    layers = layers_of(network, 28, 1)
    assert layers[-1].shape == (10,) and layers[-1].kind == "Linear"
    assert sum(layer.parameters for layer in layers) == parameter_count(network)
    assert network.training and all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_shared_weights_are_counted_once():
    convolution = nn.Conv2d(1, 1, 3)
    layers = layers_of(nn.Sequential(convolution, convolution), 8, 1)
    assert [layer.receptive_field for layer in layers] == [3, 5]
    assert [layer.parameters for layer in layers] == [10, 0]


def test_branches_of_one_pixel_keep_the_grid():
    layers = layers_of(original("mobilenet_v3_small"))  # squeeze and excitation: a mean over the image scales channels
    assert max(layer.stride for layer in layers) == 32
    assert all(layer.receptive_field >= 3 for layer in layers)


@pytest.mark.parametrize(
    ("network", "arguments", "words"),
    [
        (nn.Conv2d(3, 1, 9), {"size": 4}, "3x4x4"),
        (nn.Conv2d(3, 1, 1), {"channels": 1}, "1x224x224"),
        (nn.Upsample(scale_factor=2), {}, "knows convolutions and pooling"),
    ],
)
def test_what_cannot_be_walked_is_said_in_one_line(network, arguments, words):
    with pytest.raises(InputError, match=words) as error:
        layers_of(network, **arguments)
    assert "\n" not in str(error.value)
