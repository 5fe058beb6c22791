"""Lecture 7 alone: VGG19, as Gatys, Ecker and Bethge 2016 listened to it, where its weights are on this machine."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

VGG_STAGES = (2, 5, 5, 9)  # layers of VGG19 from one of relu1_1, relu2_1, relu3_1, relu4_1 to the next


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
        x = ((x + 1) / 2 - self.mean) / self.std
        return [x := stage(x) for stage in self.stages]


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
