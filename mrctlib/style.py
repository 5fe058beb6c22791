"""Neural style transfer: the content of one picture in the style of another. Gatys, Ecker and Bethge 2016.

No weight is trained here: a network that already knows what to look for (see `mrctlib.models.features`) judges a
picture, and its gradient moves the pixels. Maps are what its layers see, a list of (N, C, H, W), from fine to coarse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def gram(maps: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, C): the mean over all places of the product of each two channels.

    Which features occur together, and no longer where. Gatys et al. 2016, equation 3, divided by the number of places.
    """
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def content_loss(maps: Tensor, wanted: Tensor) -> Tensor:
    """Squared difference of two maps (N, C, H, W), as a share of the wanted one. Gatys et al. 2016, equation 1.

    They divide by nothing; the share makes a weight mean the same for every network and layer.
    """
    return (maps - wanted).square().sum() / wanted.square().sum()


def style_loss(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over layers of the squared difference of two Gram matrices (N, C, C), as a share of the wanted one.

    Gatys et al. 2016, equations 4 and 5, with shares as in `content_loss`. maps: (N, C, H, W) for each layer.
    """
    differences = [content_loss(gram(seen), target) for seen, target in zip(maps, wanted, strict=True)]
    return torch.stack(differences).mean()


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute step from each pixel of (N, 1, H, W) to the next, down and across: noise is dear, flat is cheap.

    Rudin, Osher and Fatemi 1992; for pictures made by networks: Mahendran and Vedaldi 2015.
    """
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()


def paint(loss: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, rate: float = 0.05) -> Tensor:
    """Move the pixels of `start`, (N, 1, H, W), downhill on `loss` with Adam, and keep them in [-1, 1].

    loss: from the pictures to a scalar. Gatys et al. use L-BFGS; Adam gets there as well and is simpler.
    """
    pixels = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([pixels], rate)
    for _ in range(steps):
        (pixels.grad,) = torch.autograd.grad(loss(pixels), pixels)  # of the pixels alone: the network stays as it is
        optimiser.step()
        pixels.data.clamp_(-1, 1)
    return pixels.detach()
