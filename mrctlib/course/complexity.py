"""How big a network is and how far it sees: parameters, shapes and receptive fields, layer by layer.

Nothing is computed on images: networks are walked on torch's `meta` device, where tensors have a shape and no content,
so that the largest classics cost no memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from mrctlib.runtime import InputError

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d)


def parameter_count(network: nn.Module) -> int:
    """The number of weights and biases of a network, each counted once."""
    return sum(parameter.numel() for parameter in network.parameters())


def receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """Width in pixels of the input patch that one output sees, for (kernel, stride) from first to last.

    Each layer adds (kernel - 1) steps, and a step is the product of the strides before it.
    """
    size, step = 1, 1
    for kernel, stride in layers:
        size += (kernel - 1) * step
        step *= stride
    return size


def kernels_and_strides(network: nn.Module) -> list[tuple[int, int]]:
    """(kernel, stride) of each convolution in the order of the modules, for `receptive_field`."""
    return [(m.kernel_size[0], m.stride[0]) for m in network.modules() if isinstance(m, nn.Conv2d)]


@dataclass(frozen=True)
class Layer:
    """One operation of a network.

    shape: of what it gives, (C, H, W), or (C,) once rows and columns are gone; receptive_field: width in pixels of the
    part of the image that one of its outputs can see (the longer side), not cut at the border of the image; stride:
    how many pixels of the image lie between two neighbouring outputs.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    receptive_field: int
    stride: int


def layers_of(network: nn.Module, size: int = 224, channels: int = 3) -> list[Layer]:
    """Every operation of an image classifier in the order in which it runs, for a square image of `size` pixels.

    The rule of `receptive_field`, followed along every branch (Araujo, Norris and Sim, Distill 2019): a convolution or
    a pooling window adds (kernel - 1) * dilation steps; where branches meet, the widest counts; what takes rows and
    columns away sees the whole image. The network is walked as it runs in evaluation mode, and left as it was.

    Raises:
        InputError: the network cannot be traced (torch.fx), the image does not fit, or the network enlarges images.
    """
    walked = copy.deepcopy(network).to("meta").eval()
    try:
        graph = fx.symbolic_trace(walked)
        ShapeProp(graph).propagate(torch.empty(1, channels, size, size, device="meta"))
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        asked = f"{type(network).__name__} with images of {channels}x{size}x{size}"
        raise InputError(f"layers_of cannot walk {asked}: {reason}; check size and channels") from error
    modules = dict(graph.named_modules())
    seen = {}  # by node: how wide an output sees, how far neighbours are apart, and their grid, each (rows, columns)
    layers = []
    for node in graph.graph.nodes:
        shape = tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))
        if node.op == "placeholder":
            seen[node] = (1, 1), (1, 1), (size, size)
        if not shape or not node.op.startswith("call"):
            continue
        module = modules[node.target] if node.op == "call_module" else None
        before = zip(*(seen[other] for other in node.all_input_nodes if other in seen), strict=True)
        field, step, grid = (tuple(map(max, zip(*each, strict=True))) for each in before)
        if len(shape) < 4 or ((isinstance(module, ADAPTIVE[:2]) or node.target in ADAPTIVE[2:]) and shape[2:] != grid):
            field = tuple(max(n, size) for n in field)
        elif window := _window(node, module):
            kernel, stride, dilation = window
            field = tuple(f + (k - 1) * d * s for f, k, d, s in zip(field, kernel, dilation, step, strict=True))
            step = tuple(s * t for s, t in zip(step, stride, strict=True))
        elif shape[2:] != grid:
            raise InputError(
                f"{node.name} turns {grid} pixels into {shape[2:]}: layers_of knows convolutions and pooling"
            )
        seen[node] = field, step, shape[2:] or (1, 1)
        kind = type(module).__name__ if module else getattr(node.target, "__name__", str(node.target))
        name = node.target if module else node.name
        owned = parameter_count(module) if module and all(layer.name != name for layer in layers) else 0
        layers.append(Layer(name, kind, shape[1:], owned, max(field), max(step)))
    return layers


def _window(node: fx.Node, module: nn.Module | None) -> tuple | None:
    """(kernel, stride, dilation), each (rows, columns), of a convolution or pooling; None for all else."""
    if isinstance(module, WINDOWED):
        found = module.kernel_size, module.stride, getattr(module, "dilation", 1)
    elif node.target in (F.max_pool2d, F.avg_pool2d):
        given = dict(zip(("input", "kernel_size", "stride"), node.args, strict=False)) | node.kwargs
        found = given["kernel_size"], given.get("stride") or given["kernel_size"], given.get("dilation", 1)
    else:
        return None
    return tuple((value, value) if isinstance(value, int) else tuple(value) for value in found)
