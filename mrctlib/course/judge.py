"""A classifier that knows digits well: it names what a GAN makes, and what it sees is compared with real digits."""

from __future__ import annotations

from torch import Tensor, nn

from mrctlib.course.digits import Digits
from mrctlib.course.networks.classifiers import conv_bn_relu
from mrctlib.runtime import Tier, seed_everything
from mrctlib.training.supervised import fit, predict

RECIPE = {"batch": 64, "rate": 3e-3, "weight_decay": 0.01}


class DigitJudge(nn.Sequential):
    """Digits (N, 1, 28, 28) from 0 to 1 to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__(
            conv_bn_relu(1, 16, stride=2), conv_bn_relu(16, 32, stride=2), conv_bn_relu(32, 64, stride=2),
            nn.Flatten(), nn.Linear(64 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def classes(self, images: Tensor) -> Tensor:
        """The digit it sees in each image, (N,)."""
        return predict(self, images).argmax(1)

    def features(self, images: Tensor) -> Tensor:
        """What it sees before it decides, (N, 64)."""
        return predict(nn.Sequential(*list(self)[:-1]).train(self.training), images)


def train_judge(digits: Digits, *, steps: int = 600, seed: int = 0, here: Tier | None = None) -> DigitJudge:
    """A judge trained on the training digits alone; on the CPU."""
    seed_everything(seed, "judge")
    judge = DigitJudge()
    fit(judge, digits.train_images, digits.train_classes, **RECIPE, steps=steps, seed=seed, name="judge", here=here)
    return judge.cpu()
