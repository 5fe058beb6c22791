"""Images too large for one pass: tile by tile, with margins, and no seam (Ronneberger et al. 2015, figure 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.runtime import InputError
from mrctlib.training.supervised import predict


def mirror_padded(image: Tensor, margin: int, tile: int) -> Tensor:
    """(C, H, W) with `margin` mirrored pixels on each side, and more below and on the right until whole tiles fit.

    Raises:
        InputError: the image is too small to be mirrored that far.
    """
    height, width = image.shape[-2:]
    below, right = margin + -height % tile, margin + -width % tile
    if below >= height or right >= width:
        raise InputError(f"an image of {height} x {width} is too small for tiles of {tile} and a margin of {margin}")
    return F.pad(image[None], (margin, right, margin, below), mode="reflect")[0]


def predict_in_tiles(network: nn.Module, image: Tensor, tile: int = 64, margin: int = 24, batch: int = 8) -> Tensor:
    """(C, H, W) to the network's scores (classes, H, W), in evaluation mode, `batch` tiles at a time.

    Each tile of tile x tile pixels is cut out with a margin on each side, and of the answer only the tile is kept. All
    together equal the answer to the whole mirrored image, where the margin is at least as wide as the network sees to
    either side, tile and margin are multiples of its total stride (so that its pooling grids stay in place), and no
    layer looks at the tile as a whole (instance normalisation does, batch normalisation in evaluation mode does not).

    Raises:
        InputError: the image is too small to be mirrored that far.
    """
    height, width = image.shape[-2:]
    padded = mirror_padded(image, margin, tile)
    window = tile + 2 * margin
    windows = padded.unfold(1, window, tile).unfold(2, window, tile)  # (C, rows, columns, window, window)
    rows, columns = windows.shape[1:3]
    scores = predict(network, windows.movedim(0, 2).flatten(0, 1), batch)
    kept = scores[..., margin : margin + tile, margin : margin + tile].unflatten(0, (rows, columns))
    # (rows, columns, classes, tile, tile) to (classes, rows * tile, columns * tile)
    return kept.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)[:, :height, :width]


def predict_whole(network: nn.Module, image: Tensor, tile: int = 64, margin: int = 24) -> Tensor:
    """The same scores (classes, H, W) in one pass over the mirrored image: what `predict_in_tiles` has to equal."""
    height, width = image.shape[-2:]
    scores = predict(network, mirror_padded(image, margin, tile)[None])[0]
    return scores[:, margin : margin + height, margin : margin + width]
