"""What decides how a translation training goes: the recipe, by model and tier, and the slices it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from mrctlib.data.cohorts import Case, unpaired_halves
from mrctlib.data.plausible import describe
from mrctlib.data.slices import SliceSet, slice_set
from mrctlib.losses import OFF, Schedule
from mrctlib.models.translation import ResnetGenerator, UnetGenerator
from mrctlib.runtime import InputError, Tier
from mrctlib.training.checkpoints import CHECKPOINT

PHANTOM_SHAPES = {"cpu": (80, 80, 48), "mps": (80, 80, 48), "gpu": (128, 128, 96)}
"""Grid of the phantom patients at each tier: voxels of 3.2 x 3.2 x 4 mm, or 2 x 2 x 2 mm."""


@dataclass(frozen=True)
class Recipe:
    """What every translation training needs, saved with its result. The defaults are those of Zhu et al. 2017.

    model: its name; generator: "resnet" or "unet", `base` channels wide, `depth` blocks or halvings deep; kernel: of
    the ResNet's first and last layer; spacing (mm) and size (pixels): of the slices; constant: share of the steps
    before the learning rates fall; average: decay of the averaged generator.
    """

    model: str = "paired"
    generator: str = "resnet"
    base: int = 64
    depth: int = 9
    kernel: int = 7
    spacing: float = 1.0
    size: int = 256
    batch: int = 1
    steps: int = 200_000
    rate: float = 2e-4
    constant: float = 0.5
    average: float = 0.999
    watch_every: int = 1000
    seed: int = 0

    @property
    def paired(self) -> bool:
        """Whether the MR and the CT of a patient are learned from together."""
        return True

    def rate_at(self, done: float) -> float:
        """Share of the learning rates at a share `done` of the training: 1 at first, then in a straight line to 0."""
        return min(1.0, (1.0 - done) / (1.0 - self.constant))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """The recipe of that kind; what only other kinds know is left out."""
        known = {field.name for field in fields(cls)} & values.keys()
        return cls(**{n: Schedule(**values[n]) if isinstance(values[n], dict) else values[n] for n in known})


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """A discriminator as well: `discriminator_base` channels wide, with `discriminator_layers` halvings."""

    discriminator_base: int = 64
    discriminator_layers: int = 3
    discriminator_rate: float = 2e-4


@dataclass(frozen=True)
class CycleRecipe(AdversarialRecipe):
    """A CycleGAN, and what may help it.

    sees_depth: the discriminators are told how deep in the body a pixel lies; noise: standard deviation of the noise on
    a fake before the way back; gan to profile: the weights of the losses, over the training; pool: of old fakes.
    """

    model: str = "cyclegan"
    sees_depth: bool = False
    gan: Schedule = Schedule(1, 1)
    cycle: Schedule = Schedule(10, 10)
    identity: Schedule = Schedule(5, 5)
    mind: Schedule = OFF
    background: Schedule = OFF
    profile: Schedule = OFF
    noise: float = 0.0
    pool: int = 50

    @property
    def paired(self) -> bool:
        return False


# Minutes must do, so everything is small and the learning rates are high.
_SMALL = {
    "generator": "unet", "base": 12, "depth": 3, "spacing": 3.2, "size": 64, "batch": 4,
    "constant": 0.4, "average": 0.99, "watch_every": 50,
}  # fmt: skip
_LARGER = {
    "generator": "unet", "base": 24, "depth": 4, "spacing": 2.0, "size": 128, "batch": 4,
    "constant": 0.4, "average": 0.995, "watch_every": 200,
}  # fmt: skip
# The unpaired game gets all the help that needs no pairs.
_HELPED = {
    "sees_depth": True, "gan": Schedule(1, 0.2), "cycle": Schedule(5, 5), "identity": OFF,
    "mind": Schedule(4, 4), "background": Schedule(5, 5), "profile": Schedule(20, 10), "noise": 0.03,
}  # fmt: skip
_CYCLEGAN = {
    "cpu": _SMALL | _HELPED | {
        "steps": 900, "base": 8, "rate": 3e-3, "discriminator_rate": 1e-3, "discriminator_base": 8,
        "discriminator_layers": 2,
    },
    "gpu": _LARGER | _HELPED | {
        "steps": 5000, "rate": 1e-3, "discriminator_rate": 5e-4, "discriminator_base": 24, "discriminator_layers": 3,
    },
    "full": {
        "batch": 4, "sees_depth": True, "cycle": Schedule(10, 5), "identity": Schedule(5, 0, until=0.5),
        "mind": Schedule(5, 5), "background": Schedule(5, 5), "profile": Schedule(10, 0, until=0.5), "noise": 0.03,
    },
}  # fmt: skip
# One network and one pass a step: more steps in a fraction of the time.
_PAIRED = {
    "cpu": _SMALL | {"steps": 840, "rate": 1e-3}, "gpu": _LARGER | {"steps": 3000, "rate": 1e-3},
    "full": {"steps": 20_000, "batch": 4},
}  # fmt: skip
_MODELS = {"cyclegan": (CycleRecipe, _CYCLEGAN), "paired": (Recipe, _PAIRED)}
MODELS = tuple(_MODELS)


def recipe_for(model: str, tier: Tier, *, full: bool = False, seed: int = 0, steps: int | None = None) -> Recipe:
    """The recipe of a model, one of `MODELS`, at a tier; full: as in the paper, hours on a GPU.

    Raises:
        InputError: an unknown model.
    """
    if model not in MODELS:
        raise InputError(f"model {model!r}: choose one of {', '.join(MODELS)}")
    kind, by_tier = _MODELS[model]
    chosen = by_tier["full" if full else tier.pick(cpu="cpu", gpu="gpu")]
    recipe = kind(model=model, seed=seed, **chosen)
    return replace(recipe, steps=steps) if steps else recipe


def build_generator(recipe: Recipe) -> nn.Module:
    if recipe.generator == "resnet":
        return ResnetGenerator(recipe.base, recipe.depth, recipe.kernel)
    return UnetGenerator(recipe.base, recipe.depth)


def cohort_slices(cases: Sequence[Case], recipe: Recipe, run: Path | None = None) -> tuple[SliceSet, SliceSet]:
    """(MR slices, CT slices) for a recipe: for an unpaired one no patient gives both, for a paired one every one does.

    run: the folder of the training, where they are kept, see `slice_set`.

    Raises:
        InputError: see `slice_set`.
    """
    for_mr, for_ct = (cases, cases) if recipe.paired else unpaired_halves(cases, recipe.seed)
    size, looks = (recipe.spacing, recipe.size), lambda *image: {"looks": describe(*image)}
    started = run is not None and (run / CHECKPOINT).exists()
    mr, ct = ({"cache": run / "slices" / kind if run else None, "started": started} for kind in ("mr", "ct"))
    return slice_set(for_mr, "mr", *size, looks, **mr), slice_set(for_ct, "ct", *size, **ct)
