"""Why does the network say so? Maps over the image, one plain function for each method.

Every function takes (model, images, targets). `images` are (N, C, H, W) or (N, C, D, H, W), floating point. `targets`
is one class for all images or an (N,) long tensor with one for each. The score that is explained is the logit
`model(images)[n, targets[n]]`.

The model is asked in evaluation mode and left exactly as it was: hooks, training mode, gradients. The maps are detached
and lie on the device of the images, wherever the model is. All functions also work under `torch.no_grad`. Bad input
raises `InputError`: images or targets of another form, a model that does not return (N, classes), a score that no
gradient leads back from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mrctlib.runtime import InputError

Targets = int | Tensor

# ---------------------------------------------------------------------------------------------------- by gradients


def saliency(model: nn.Module, images: Tensor, targets: Targets) -> Tensor:
    """How fast the score changes with each pixel, |d score / d pixel|, the shape of images. Simonyan et al. 2014."""
    return _gradient(model, images, targets).abs()


def deconvnet(model: nn.Module, images: Tensor, targets: Targets) -> Tensor:
    """The gradient, but each ReLU on the way back looks at the signal going back alone. Zeiler and Fergus 2014.

    Returns the shape of images. A ReLU lets through what is positive of the gradient, whatever went forward. ReLUs may
    be modules or functions.

    Raises:
        InputError: also for any other activation, for which there is no such rule.
    """
    return _gradient(model, images, targets, _ReluRule(model, guided=False))


def guided_backprop(model: nn.Module, images: Tensor, targets: Targets) -> Tensor:
    """As `deconvnet`, but a ReLU that was silent on the way forward lets nothing back. Springenberg et al. 2015."""
    return _gradient(model, images, targets, _ReluRule(model, guided=True))


def integrated_gradients(
    model: nn.Module, images: Tensor, targets: Targets, *, baseline: float = 0.0, steps: int = 50
) -> Tensor:
    """Each pixel's share of score(images) - score(baseline), the shape of images. Sundararajan et al. 2017.

    The gradient is averaged along the straight line from an image with the value `baseline` everywhere, at the `steps`
    points of Gauss and Legendre, and multiplied by the difference. The shares add up to the difference of the scores.
    """
    _check_images(images)
    if steps < 1:
        raise InputError(f"steps is {steps}: integrated gradients needs at least one point on the line")
    points, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]; the line is [0, 1]
    difference = images.detach() - baseline
    total = torch.zeros_like(difference)
    for point, weight in zip((1 + points) / 2, weights / 2, strict=True):
        total += float(weight) * _gradient(model, baseline + float(point) * difference, targets)
    return total * difference


# ---------------------------------------------------------------------------------------------------- by feature maps


def class_activation_map(model: nn.Module, images: Tensor, targets: Targets) -> Tensor:
    """The last feature maps, weighted as the linear layer weights their means, (N, 1, *spatial). Zhou et al. 2016.

    Raises:
        InputError: also if the model does not end in a global average and one linear layer.
    """
    with _explaining(model, images) as x, torch.no_grad():
        with _Record() as made:
            scores = _scores(model, x)
        chosen = _checked_targets(targets, scores)
        # Whatever the model calls its parts: these maps, averaged, and this layer give its scores.
        for linear, maps in product((m for m in model.modules() if isinstance(m, nn.Linear)), made.tensors):
            if _averages_give(linear, maps, scores):
                return _enlarge(_weighted_sum(maps, linear.weight[chosen]), images)
    raise InputError("class_activation_map needs a global average and one linear layer at the end: use grad_cam")


def grad_cam(model: nn.Module, images: Tensor, targets: Targets, layer: nn.Module) -> Tensor:
    """What in the feature maps of `layer` speaks for the target, (N, 1, *spatial), at least 0. Selvaraju et al. 2017.

    Each map is weighted by the mean of its gradient; the sum, where it is positive, is enlarged to the image by linear
    interpolation.

    Raises:
        InputError: also if `layer` is no part of the model, is reached not once, or gives no feature maps.
    """
    name = type(layer).__name__
    if not any(layer is module for module in model.modules()):
        raise InputError(f"layer {name} is no part of the model: take one from model.modules()")
    outputs: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # what comes next may work in place

    with _explaining(model, images) as x, layer.register_forward_hook(keep):
        score = _score(model, x, targets)
        if len(outputs) != 1:
            raise InputError(f"layer {name} was reached {len(outputs)} times: Grad-CAM needs one that is reached once")
        maps = outputs[0]
        if not isinstance(maps, Tensor) or maps.dim() != images.dim() or maps[0, 0].numel() == 1:
            raise InputError(f"layer {name} gives no maps: take one before the global average or the flattening")
        weights = _slope(score, maps, f"layer {name}").flatten(2).mean(2)
    return _enlarge(_weighted_sum(maps.detach(), weights).clamp(min=0), images)


def guided_grad_cam(model: nn.Module, images: Tensor, targets: Targets, layer: nn.Module) -> Tensor:
    """Where by `grad_cam`, what by `guided_backprop`: their product, the shape of images. Selvaraju et al. 2017."""
    return guided_backprop(model, images, targets) * grad_cam(model, images, targets, layer)


# ---------------------------------------------------------------------------------------------------- by trying


def occlusion(
    model: nn.Module, images: Tensor, targets: Targets, *, size: int, stride: int, fill: float = 0.0
) -> Tensor:
    """How far the score falls when a square (or cube) is painted over, the shape of images. Zeiler and Fergus 2014.

    size, stride: of the square, in pixels; fill: what it is painted with. A pixel gets the mean over all squares that
    covered it. At the far edge a square may reach beyond the image.

    Raises:
        InputError: also if the square does not fit into the image, or its steps leave gaps.
    """
    _check_images(images)
    spatial = images.shape[2:]
    if not 1 <= size <= min(spatial):
        raise InputError(f"size is {size}: the square must fit into an image of {tuple(spatial)} pixels")
    if not 1 <= stride <= size:
        raise InputError(f"stride is {stride}: from 1 to the size of the square ({size}), so that no pixel is left out")
    starts = [range(0, length - size + stride, stride) for length in spatial]
    with _explaining(model, images) as x, torch.no_grad():
        whole = _score(model, x, targets)
        fall, covered = torch.zeros_like(x[:, :1]), torch.zeros_like(x[:1, :1])
        for corner in product(*starts):
            square = (..., *(slice(start, start + size) for start in corner))
            painted = x.detach().clone()
            painted[square] = fill
            change = whole - _score(model, painted, targets)
            fall[square] += change.view(-1, *[1] * (x.dim() - 1))
            covered[square] += 1
    return (fall / covered).expand_as(x).to(images.device, copy=True)


def scaled(maps: Tensor) -> Tensor:
    """The size of each value, divided by the largest in its map: (N, ...) to the same, from 0 to 1.

    The sign is dropped. A map of zeros stays zero.
    """
    sizes = maps.abs()
    largest = sizes.amax(tuple(range(1, maps.dim())), keepdim=True)
    return sizes / torch.where(largest > 0, largest, 1)


# ---------------------------------------------------------------------------------------------------- asking the model


@contextmanager
def _explaining(model: nn.Module, images: Tensor) -> Iterator[Tensor]:
    """The images on the model's device, ready for gradients; meanwhile the model is in evaluation mode."""
    _check_images(images)
    training = [(module, module.training) for module in model.modules()]
    device = next(chain(model.parameters(), model.buffers(), [images])).device
    try:
        model.eval()
        with torch.inference_mode(False), torch.enable_grad():
            yield images.detach().clone().to(device).requires_grad_()
    finally:
        for module, mode in training:  # one by one: some parts may have been in another mode than the whole
            module.training = mode


def _scores(model: nn.Module, x: Tensor) -> Tensor:
    """(N, classes)."""
    scores = model(x)
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(x):
        found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"the model returned {found}: scores of the form ({len(x)}, classes) are needed")
    return scores


def _score(model: nn.Module, x: Tensor, targets: Targets) -> Tensor:
    """(N,), the logit of each image's target."""
    scores = _scores(model, x)
    return scores.gather(1, _checked_targets(targets, scores)[:, None])[:, 0]


def _slope(score: Tensor, at: Tensor, where: str) -> Tensor:
    """d score / d at, the shape of `at`."""
    if score.requires_grad and at.requires_grad:
        (gradient,) = torch.autograd.grad(score.sum(), at, allow_unused=True)
        if gradient is not None:
            return gradient
    raise InputError(f"no gradient leads from the score to {where}: look for detach, no_grad or round in the model")


def _gradient(model: nn.Module, images: Tensor, targets: Targets, rule: AbstractContextManager | None = None) -> Tensor:
    """d score / d pixel, the shape of images; `rule`: what is active on the way forward."""
    with _explaining(model, images) as x:
        with rule or nullcontext():
            score = _score(model, x, targets)
        return _slope(score, x, "the images").to(images.device)


# ---------------------------------------------------------------------------------------------------- every operation


class _Record(TorchFunctionMode):
    """While it is active, `tensors` collects what every operation makes, first to last."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.tensors.append(result)
        return result


# Let through by the rule below, these would silently give the plain gradient. The last six can be a ReLU in disguise.
_WITHOUT_RULE = frozenset({
    "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "glu", "silu", "mish", "softplus",
    "softsign", "softshrink", "hardshrink", "tanhshrink", "hardswish", "hardsigmoid", "sigmoid", "log_sigmoid", "tanh",
    "hardtanh", "threshold", "clamp", "clamp_min", "clip", "maximum",
})  # fmt: skip


class _ReluRule(TorchFunctionMode):
    """While it is active, every ReLU has another backward pass, be it a module or a function: no hook is needed."""

    def __init__(self, model: nn.Module, *, guided: bool) -> None:
        super().__init__()
        self.guided = guided
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise InputError("the model is compiled by TorchScript, which hides its ReLUs: give it uncompiled")

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        written = getattr(function, "__name__", "")
        name = written.strip("_")
        if name in _WITHOUT_RULE:
            raise InputError(f"the model uses {name}: deconvnet and guided backprop have a rule for ReLU alone")
        if name != "relu":
            return function(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        result = _RuledRelu.apply(x, self.guided)
        in_place = written.endswith("_") or kwargs.get("inplace", False)
        return x.copy_(result) if in_place else result


class _RuledRelu(torch.autograd.Function):
    """max(x, 0) on the way forward; on the way back what is positive of the gradient (guided: where x was positive)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, guided: bool) -> Tensor:
        ctx.guided = guided
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (was_positive,) = ctx.saved_tensors
        positive = gradient.clamp(min=0)
        return (positive * was_positive if ctx.guided else positive), None


# ---------------------------------------------------------------------------------------------------- small parts


def _weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """(N, C, *spatial) and (N, C) to (N, 1, *spatial)."""
    return torch.einsum("nc...,nc->n...", maps, weights).unsqueeze(1)


def _enlarge(maps: Tensor, images: Tensor) -> Tensor:
    """(N, 1, *small) to the size and the device of the images."""
    mode = "bilinear" if images.dim() == 4 else "trilinear"
    return F.interpolate(maps, images.shape[2:], mode=mode, align_corners=False).to(images.device)


def _averages_give(linear: nn.Linear, maps: Tensor, scores: Tensor) -> bool:
    """Whether the means of these feature maps, sent through this layer, are the scores."""
    widths = (linear.in_features, linear.out_features)
    if maps.dim() < 4 or maps.shape[0] != len(scores) or (maps.shape[1], scores.shape[1]) != widths:
        return False
    again = linear(maps.flatten(2).mean(2))
    return torch.allclose(again, scores, rtol=1e-3, atol=1e-3 * float(scores.abs().max()))


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dim() not in (4, 5) or not images.is_floating_point():
        found = f"{tuple(images.shape)}, {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images are {found}: give floating-point (N, C, H, W) or (N, C, D, H, W)")
    if not images.numel() or not images.isfinite().all():
        raise InputError("images are empty or hold nan or infinity: nothing can be explained there")


def _checked_targets(targets: Targets, scores: Tensor) -> Tensor:
    """(N,) long, one class for each image."""
    number, classes = scores.shape
    try:
        found = torch.as_tensor(targets, device=scores.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"targets are {type(targets).__name__}: give a class or an ({number},) long tensor") from error
    if found.dtype not in (torch.long, torch.int) or found.shape not in ((), (number,)):
        form = f"shape {tuple(found.shape)} and {found.dtype}"
        raise InputError(f"targets have {form}: give a class or an ({number},) long tensor")
    if found.min() < 0 or found.max() >= classes:
        reach = f"from {found.min()} to {found.max()}"
        raise InputError(f"targets reach {reach}: the model has the classes 0 to {classes - 1}")
    return found.long().expand(number)
