"""Networks whose layers can be listened to: a picture as a list of maps (N, C, H, W), from fine to coarse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG_STAGES = (2, 5, 5, 9)  # layers of VGG19 from one of relu1_1, relu2_1, relu3_1, relu4_1 to the next
GRID = 4  # places a side that the classifier tells apart


class FeatureNetwork(nn.Module):
    """(N, 1, H, W) to (N, classes): a small classifier whose layers can be listened to.

    Made as Gatys et al. changed VGG: 3 x 3 convolutions, average instead of maximum pooling, no normalisation, so
    that a map keeps its size. The scores come from the last map on a grid of 4 x 4 places. widths: channels of each
    stage; between stages the resolution is halved.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (12, 24, 48)) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for width, wider in zip((1, *widths[:-1]), widths, strict=True):
            halve = [nn.AvgPool2d(2)] if self.stages else []
            convolutions = [nn.Conv2d(width, wider, 3, padding=1), nn.ReLU(), nn.Conv2d(wider, wider, 3, padding=1)]
            self.stages.append(nn.Sequential(*halve, *convolutions, nn.ReLU()))
        self.scores = nn.Linear(GRID**2 * widths[-1], classes)
        for module in self.stages.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015: without normalisation the start decides
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def maps(self, x: Tensor) -> list[Tensor]:
        """(N, 1, H, W) to one (N, width, H / 2^stage, W / 2^stage) for each stage."""
        return _run(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(F.adaptive_avg_pool2d(self.maps(x)[-1], GRID).flatten(1))


class VggMaps(nn.Module):
    """The maps relu1_1, relu2_1, relu3_1 and relu4_1 of VGG19 for grey pictures (N, 1, H, W) in [-1, 1]."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        layers = iter(features)
        self.stages = nn.ModuleList(nn.Sequential(*(next(layers) for _ in range(n))) for n in VGG_STAGES)
        for module in self.stages.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # a map that was handed out must not change
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])  # of ImageNet
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def maps(self, x: Tensor) -> list[Tensor]:
        """(N, 1, H, W) to four maps with 64, 128, 256 and 512 channels, each half as large as the one before."""
        return _run(self.stages, ((x + 1) / 2 - self.mean) / self.std)


def local_vgg() -> VggMaps | None:
    """VGG19 as trained on ImageNet (Simonyan and Zisserman 2015), if torchvision's file is in torch's cache.

    Nothing is ever downloaded: without the file the answer is None.
    """
    import torchvision  # slow to import, and needed by nobody else here

    name = Path(torchvision.models.VGG19_Weights.IMAGENET1K_V1.url).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        return None
    with torch.device("meta"):  # no time and no memory for weights that are replaced at once
        features = torchvision.models.vgg19().features
    tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    kept = {key.removeprefix("features."): value for key, value in tensors.items() if key.startswith("features.")}
    features.load_state_dict(kept, assign=True)
    return VggMaps(features).requires_grad_(False).eval()


def _run(stages: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found
