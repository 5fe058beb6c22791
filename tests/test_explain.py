"""Maps that say what captum says, and a model that does not notice it was asked."""

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mrctlib.course import explain
from mrctlib.course.networks.classifiers import VGG, BasicBlock, DenseBlock, InceptionBlock, LeNet, average_and_classify
from mrctlib.course.networks.segmentation import UNet, VNet
from mrctlib.models.translation import PatchDiscriminator, ResnetGenerator, UnetGenerator
from mrctlib.runtime import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*hooks:UserWarning", "ignore:Input Tensor:UserWarning")


def of_blocks(channels: int, classes: int) -> nn.Sequential:
    """An inception block and a dense block, as a network."""
    return nn.Sequential(
        InceptionBlock(channels, 2, (2, 4), (2, 2), 2), DenseBlock(10, 2, 4), average_and_classify(18, classes)
    )


def residual() -> nn.Sequential:
    """Two residual blocks, the second at half the size, as a network for images with 2 channels and 3 classes."""
    return nn.Sequential(BasicBlock(2, 8), BasicBlock(8, 16, 2), average_and_classify(16, 3))


class Average(nn.Module):
    """Scores (N, classes) from what a segmentation network says of each voxel."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).flatten(2).mean(2)


def scored(network):
    """Scores (N, 3) from a network that knows images of one channel alone."""
    return Average(nn.Sequential(nn.Conv2d(2, 1, 1), network, nn.Conv2d(1, 3, 1)))


class Small(nn.Module):
    """Two convolutions and a global average, in 2-D or 3-D; `relu` is a module or a function."""

    def __init__(self, dims=2, relu=None, pool=lambda x: x.flatten(2).mean(2)):
        super().__init__()
        convolution = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.first = convolution(2, 5, 3, stride=2)
        self.second = convolution(5, 6, 3, padding=1)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(2)) if relu is None else [relu] * 2
        self.pool, self.last = pool, nn.Linear(6, 3)

    def forward(self, x):
        for convolution, relu in zip((self.first, self.second), self.relus, strict=True):
            x = relu(convolution(x))
        return self.last(self.pool(x))


def seeded(build, *args, **kwargs):
    torch.manual_seed(0)
    return build(*args, **kwargs).double()


def images(*size, number=3):
    return torch.randn(number, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def last_convolution(model):
    kinds = (nn.Conv2d, nn.Conv3d)
    return [m for m in model.modules() if isinstance(m, kinds) and max(m.kernel_size) > 1][-1]


TARGETS = torch.tensor([0, 2, 1])
METHODS = {
    "saliency": explain.saliency,
    "occlusion": lambda m, x, t: explain.occlusion(m, x, t, size=6, stride=5),
    "class_activation_map": explain.class_activation_map,
    "deconvnet": explain.deconvnet,
    "guided_backprop": explain.guided_backprop,
    "grad_cam": lambda m, x, t: explain.grad_cam(m, x, t, last_convolution(m)),
    "guided_grad_cam": lambda m, x, t: explain.guided_grad_cam(m, x, t, last_convolution(m)),
    "integrated_gradients": lambda m, x, t: explain.integrated_gradients(m, x, t, steps=3),
}
NETWORKS = {
    "LeNet": (lambda: LeNet(2, 3), (28, 28)),
    "VGG": (lambda: VGG((4, "pool", 6, "pool"), 2, 3), (16, 16)),
    "blocks": (lambda: of_blocks(2, 3), (16, 16)),
    "ResNet": (residual, (16, 16)),
    "UNet": (lambda: Average(UNet(3, 2, 4, 2)), (16, 16)),
    "VNet": (lambda: Average(VNet(3, 2, 2, 2)), (8, 8, 8)),
    "ResnetGenerator": (lambda: scored(ResnetGenerator(2, 1)), (16, 16)),
    "UnetGenerator": (lambda: scored(UnetGenerator(2, 2)), (16, 16)),
    "PatchDiscriminator": (lambda: scored(PatchDiscriminator(2, 1)), (32, 32)),
}
REFUSED = {  # the methods that a network has no place or no rule for
    "LeNet": {"class_activation_map"},
    "UNet": {"class_activation_map"},
    "VNet": {"class_activation_map", "deconvnet", "guided_backprop", "guided_grad_cam"},
    "ResnetGenerator": {"class_activation_map", "deconvnet", "guided_backprop", "guided_grad_cam"},
    "UnetGenerator": {"class_activation_map", "deconvnet", "guided_backprop", "guided_grad_cam"},
    "PatchDiscriminator": {"class_activation_map", "deconvnet", "guided_backprop", "guided_grad_cam"},
}
CASES = {
    "2-D": (lambda: Small(2), (17, 22)),
    "3-D": (lambda: Small(3), (9, 11, 10)),
    "ResNet": (residual, (18, 20)),
}


# ------------------------------------------------------------------------------------------- the same as captum


@pytest.fixture(params=CASES)
def case(request):
    build, size = CASES[request.param]
    return seeded(build).eval(), images(*size)


def close(ours, theirs):
    assert ours.shape == theirs.shape and theirs.abs().max() > 0
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-6


def test_saliency_agrees(case):
    model, x = case
    close(explain.saliency(model, x, TARGETS), captum.attr.Saliency(model).attribute(x, TARGETS))


def test_deconvnet_agrees(case):
    model, x = case
    close(explain.deconvnet(model, x, TARGETS), captum.attr.Deconvolution(model).attribute(x, TARGETS))


def test_guided_backprop_agrees(case):
    model, x = case
    close(explain.guided_backprop(model, x, TARGETS), captum.attr.GuidedBackprop(model).attribute(x, TARGETS))


def test_grad_cam_agrees(case):
    model, x = case
    layer = last_convolution(model)
    small = captum.attr.LayerGradCam(model, layer).attribute(x, TARGETS, relu_attributions=True)
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    large = captum.attr.LayerAttribution.interpolate(small, x.shape[2:], mode)
    close(explain.grad_cam(model, x, TARGETS, layer), large.detach())


def test_guided_grad_cam_agrees(case):
    model, x = case
    layer = last_convolution(model)
    mode = "bilinear" if x.dim() == 4 else "trilinear"
    theirs = captum.attr.GuidedGradCam(model, layer).attribute(x, TARGETS, interpolate_mode=mode)
    close(explain.guided_grad_cam(model, x, TARGETS, layer), theirs.detach())


@pytest.mark.parametrize("size, stride, fill", [(4, 4, 0.0), (5, 3, 0.7), (9, 9, 0.0)])
def test_occlusion_agrees(case, size, stride, fill):
    model, x = case
    dims = x.dim() - 2
    theirs = captum.attr.Occlusion(model).attribute(x, (2, *[size] * dims), (2, *[stride] * dims), fill, TARGETS)
    close(explain.occlusion(model, x, TARGETS, size=size, stride=stride, fill=fill), theirs)


@pytest.mark.parametrize("baseline, steps", [(0.0, 50), (0.3, 7)])
def test_integrated_gradients_agree(case, baseline, steps):
    model, x = case
    theirs = captum.attr.IntegratedGradients(model).attribute(x, baseline, TARGETS, n_steps=steps)
    close(explain.integrated_gradients(model, x, TARGETS, baseline=baseline, steps=steps), theirs.detach())


# ------------------------------------------------------------------------------------------- what is known without it


def test_shares_add_up():
    model, x = seeded(Small).eval(), images(17, 22)
    rows = torch.arange(3)
    expected = model(x)[rows, TARGETS] - model(torch.full_like(x, 0.2))[rows, TARGETS]
    shares = explain.integrated_gradients(model, x, TARGETS, baseline=0.2, steps=300).flatten(1).sum(1)
    torch.testing.assert_close(shares, expected, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_class_activation_map_is_grad_cam_before_its_relu(dims):
    """With a global average the gradient of each map is its weight over its pixels (Selvaraju et al. 2017)."""
    model, size = seeded(Small, dims), (9, 11, 10)[:dims]
    x, pixels = images(*size), int(np.prod([(n - 3) // 2 + 1 for n in size]))
    small = []
    with model.relus[1].register_forward_hook(lambda module, given, output: small.append(output)):
        model(x)
    maps = torch.einsum("nc...,nc->n...", small[0], model.last.weight[TARGETS])[:, None].detach()
    mode = "bilinear" if dims == 2 else "trilinear"
    close(explain.class_activation_map(model, x, TARGETS), F.interpolate(maps, size, mode=mode))
    close(
        explain.grad_cam(model, x, TARGETS, model.relus[1]), F.interpolate(maps.clamp(min=0) / pixels, size, mode=mode)
    )


def test_class_activation_map_finds_the_average_whatever_it_is_called():
    x = images(17, 22)
    expected = explain.class_activation_map(seeded(Small), x, TARGETS)
    for pool in (lambda y: y.mean((2, 3)), lambda y: F.avg_pool2d(y, y.shape[2:]).flatten(1)):
        close(explain.class_activation_map(seeded(Small, relu=F.relu, pool=pool), x, TARGETS), expected)
    with pytest.raises(InputError, match="global average"):
        explain.class_activation_map(seeded(Small, pool=lambda y: y.amax((2, 3))), x, TARGETS)


def in_place(x):
    x.relu_()
    return x


FUNCTIONS = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": torch.Tensor.relu,
    "Tensor.relu_, result dropped": in_place,
    "module in place": nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("relu", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_functions_and_modules_give_the_same(method, relu):
    x = images(17, 22)
    close(METHODS[method](seeded(Small, relu=relu), x, TARGETS), METHODS[method](seeded(Small), x, TARGETS))


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.PReLU(dtype=torch.float64), nn.GELU(), nn.LeakyReLU(), nn.SiLU(), nn.ReLU6(), nn.Sigmoid()),
        *(torch.tanh, F.elu, F.celu_, lambda x: F.threshold(x, 0, 0)),
        *(lambda x: x.clamp(min=0), lambda x: torch.maximum(x, torch.zeros_like(x))),
    ],
    ids=lambda activation: getattr(activation, "__name__", str(activation)),
)
def test_other_activations_are_refused(activation):
    model, x = seeded(Small, relu=activation), images(17, 22)
    for method in (explain.deconvnet, explain.guided_backprop):
        with pytest.raises(InputError, match="a rule for ReLU alone"):
            method(model, x, TARGETS)
    assert explain.saliency(model, x, TARGETS).abs().max() > 0


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_compiled_networks_are_refused_where_their_relus_cannot_be_seen():
    scripted = torch.jit.trace(seeded(Small), images(17, 22))
    with pytest.raises(InputError, match="TorchScript"):
        explain.guided_backprop(scripted, images(17, 22), TARGETS)


# ------------------------------------------------------------------------------------------- the model does not notice


def state(model):
    """What a method could leave behind: modes, hooks, other buffers."""
    hooks = [name for name in vars(nn.Module()) if name.endswith("_hooks")]
    assert "_forward_hooks" in hooks
    return [
        (part.training, [len(getattr(part, name)) for name in hooks], [id(b) for b in part.buffers(recurse=False)])
        for part in model.modules()
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_model_is_left_as_it_was(name):
    build, size = NETWORKS[name]
    model, x = seeded(build).train(), images(*size)
    list(model.modules())[-1].eval()  # one part is in another mode than the whole
    model(x).sum().backward()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    gradients = [p.grad.clone() for p in model.parameters()]
    weights = {n: t.clone() for n, t in model.state_dict().items()}
    before = state(model)
    for method, call in METHODS.items():
        if method in REFUSED.get(name, ()):
            with pytest.raises(InputError):
                call(model, x, TARGETS)
        else:
            with torch.no_grad():
                maps = call(model, x, TARGETS)
            assert not maps.requires_grad and maps.isfinite().all()
            assert maps.shape[0] == 3 and maps.shape[2:] == size
        with pytest.raises(InputError):  # an error in the middle
            call(model, x, torch.tensor([0, 1, 7]))
        with pytest.raises(RuntimeError):  # and one that is the model's own: it has 2 channels
            call(model, torch.cat([x, x], 1), TARGETS)
        assert state(model) == before
    assert not frozen.requires_grad and all(p.requires_grad for p in list(model.parameters())[1:])
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(t, weights[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_images_are_left_as_they_were(method):
    model, x = seeded(Small), images(17, 22).requires_grad_()
    old = x.detach().clone()
    with torch.inference_mode():
        first = METHODS[method](model, x, TARGETS)
    second = METHODS[method](model, x, TARGETS)
    torch.testing.assert_close(first, second)
    assert torch.equal(x, old) and x.grad is None and x.requires_grad and not second.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_each_image_is_explained_by_itself(method):
    model, x = seeded(residual), images(16, 16)
    together = METHODS[method](model, x, TARGETS)
    alone = torch.cat([METHODS[method](model, x[n : n + 1], int(TARGETS[n])) for n in range(3)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(METHODS[method](model, x, 1), METHODS[method](model, x, torch.tensor([1, 1, 1])))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_sees_nothing_gives_zeros(method):
    model = seeded(Small)
    with torch.no_grad():
        model.second.bias.fill_(-100)  # every ReLU is silent
    maps = METHODS[method](model, images(17, 22), TARGETS)
    # The deconvnet does not ask which ReLUs were silent.
    assert bool((maps == 0).all()) is (method != "deconvnet")
    assert explain.scaled(torch.zeros_like(maps)).eq(0).all()


def test_scaled():
    maps = torch.tensor([[[[2.0, -4.0]]], [[[0.0, 0.0]]], [[[1e-30, 0.0]]]])
    assert explain.scaled(maps).flatten(1).tolist() == [[0.5, 1.0], [0.0, 0.0], [1.0, 0.0]]


# ------------------------------------------------------------------------------------------- bad input, in one line


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "targets",
    [3, -1, 0.0, True, "a", None, torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 1]), torch.tensor([[0, 1, 2]])],
    ids=str,
)
def test_bad_targets(method, targets):
    with pytest.raises(InputError, match="targets") as caught:
        METHODS[method](seeded(Small), images(17, 22), targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(torch.zeros(2, 9, 9), id="3 axes"),
        pytest.param(torch.zeros(1, 2, 9, 9).long(), id="whole numbers"),
        pytest.param(np.zeros((1, 2, 9, 9)), id="array"),
        pytest.param(torch.zeros(0, 2, 9, 9), id="empty"),
        pytest.param(torch.full((1, 2, 9, 9), float("nan")), id="nan"),
    ],
)
def test_bad_images(method, bad):
    with pytest.raises(InputError, match="images are"):
        METHODS[method](seeded(Small).float(), bad, 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_does_not_classify(method):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).double()
    with pytest.raises(InputError, match="scores of the form"):
        METHODS[method](model, images(9, 9), 0)


def test_bad_layers():
    model, x = seeded(Small), images(17, 22)
    model.unused = nn.Conv2d(2, 2, 1)
    for layer, message in (
        (nn.Conv2d(2, 2, 1), "no part of the model"),
        (model.unused, "reached 0 times"),
        (model.last, "gives no maps"),
    ):
        with pytest.raises(InputError, match=message):
            explain.grad_cam(model, x, TARGETS, layer)
    model.relus = nn.ModuleList([model.relus[0]] * 2)
    with pytest.raises(InputError, match="reached 2 times"):
        explain.grad_cam(model, x, TARGETS, model.relus[0])


def test_a_gradient_that_is_cut_off():
    model, x = seeded(Small, pool=lambda y: y.detach().mean((2, 3))), images(17, 22)
    for method in ("saliency", "guided_backprop", "grad_cam", "integrated_gradients"):
        with pytest.raises(InputError, match="no gradient leads"):
            METHODS[method](model, x, TARGETS)


@pytest.mark.parametrize("size, stride", [(0, 1), (18, 1), (4, 5), (4, 0)])
def test_bad_squares(size, stride):
    with pytest.raises(InputError, match="size|stride"):
        explain.occlusion(seeded(Small), images(17, 22), TARGETS, size=size, stride=stride)


def test_bad_steps():
    with pytest.raises(InputError, match="steps is 0"):
        explain.integrated_gradients(seeded(Small), images(17, 22), TARGETS, steps=0)
