"""Draw what the views of the site show, with the course's own library: python tools/site_views.py [VIEW ...].

The views run without a kernel, so all their pictures are drawn beforehand, on embedded data, at the cpu tier. The
results are small and kept in git (site/_static/views): building the site trains nothing. Frames lie side by side in one
PNG, and the words for each stand in data.js, which a page can load from a folder, where it cannot load JSON.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import binary_erosion
from torch import Tensor, nn

from mrctlib import plots, setup
from mrctlib.course import explain, models
from mrctlib.course.digits import embedded_digits
from mrctlib.course.judge import train_judge
from mrctlib.course.lesions import FINDINGS, draw_lesion_slices
from mrctlib.course.networks.classifiers import average_and_classify, conv_bn_relu
from mrctlib.course.networks.gan import Discriminator, Generator
from mrctlib.course.shelf.translation import pair_of, stranger
from mrctlib.data.cohorts import find_cases, split_cases
from mrctlib.data.slices import slice_set
from mrctlib.data.volumes import normalise_mr
from mrctlib.phantom import head
from mrctlib.phantom.imaging import SCANNERS
from mrctlib.runtime import Tier, seed_everything
from mrctlib.training.gan import make, play
from mrctlib.training.recipe import PHANTOM_SHAPES, Recipe, cohort_slices, recipe_for
from mrctlib.training.supervised import accuracy, fit, predict
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining

VIEWS = Path(__file__).parent.parent / "site" / "_static" / "views"
HERE = Tier("cpu", torch.device("cpu"))
SEED = 0


# ---------------------------------------------------------------------------------------------------- files


def write_views(views: dict[str, dict], folder: Path) -> None:
    """Write data.js, a line for each view."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(view)}" for name, view in views.items())
    (folder / "data.js").write_text(f"const VIEWS = {{\n{lines}\n}};\n", encoding="utf-8")


def read_views() -> dict[str, dict]:
    """What data.js says of each view."""
    text = (VIEWS / "data.js").read_text(encoding="utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def write_png(image: np.ndarray, path: Path) -> None:
    """Write an image from 0 to 1, (rows, columns) or (rows, columns, 3), as a PNG."""
    Image.fromarray((255 * np.clip(image, 0, 1)).round().astype(np.uint8)).save(path, optimize=True)


def frames(picture: np.ndarray, words: list[list[str]]) -> dict:
    """What the page must know of a PNG of frames: their size, and the words for each, in rows and columns."""
    height, width = picture.shape[0] // len(words), picture.shape[1] // len(words[0])
    return {"width": width, "height": height, "words": words}


# ---------------------------------------------------------------------------------------------------- window and level


def draw_window(folder: Path) -> dict:
    """The HU of one CT slice through the bleeding of a phantom patient, as numbers: the page itself draws them."""
    case, shape = 3, (192, 192, 144)
    person = head.draw_patient(SEED, case, shape, lesion="haemorrhage")
    at = int(person.lesion.sum((0, 1)).argmax())
    hu = plots.plane(person.ct(), "axial", at)
    body = plots.plane(person.body, "axial", at)
    rows, columns = (np.flatnonzero(body.any(axis)) for axis in (1, 0))
    margin = 6
    hu = hu[rows[0] - margin : rows[-1] + margin, columns[0] - margin : columns[-1] + margin]
    spacing = person.space.spacing[0]
    return {
        "width": hu.shape[1],
        "height": hu.shape[0],
        "hu": base64.b64encode(hu.round().astype("<i2").tobytes()).decode(),
        "made": f"One axial CT slice of phantom patient {case}, seed {SEED}, with a bleeding in the brain; pixels of "
        f"{spacing:.2f} mm, noise of {SCANNERS['a'].ct_noise:.0f} HU. Nothing was trained.",
    }


# ---------------------------------------------------------------------------------------------------- latent walk


def draw_latent(folder: Path) -> dict:
    """Three walks of a DCGAN from one noise vector to another, a row of frames for each length of the noise."""
    latent, steps, points, lengths = 100, 3000, 21, (0.25, 0.5, 1.0, 2.0, 4.0)
    digits = embedded_digits()
    seed_everything(SEED, "site", "latent")
    generator = Generator(latent, 1, 16)
    real = F.pad(2 * digits.train_images - 1, (2, 2, 2, 2), value=-1)
    play(
        generator, Discriminator(1, 16), real, noise=latent, steps=steps, batch=32, rate=2e-3, average=0.99,
        seed=SEED, name="DCGAN", here=HERE,
    )  # fmt: skip
    judge = train_judge(digits, steps=1000, here=HERE)
    ends = torch.randn(3, 2, latent, generator=torch.Generator().manual_seed(SEED))
    rows, words = [], []
    for length in lengths:
        row = []
        words.append([])
        for share in torch.linspace(0, 1, points).tolist():
            made = make(generator, length * torch.lerp(ends[:, 0], ends[:, 1], share))[:, :, 2:-2, 2:-2]
            row.append(1 - (torch.cat(list(made[:, 0]), dim=1) + 1) / 2)  # ink on paper
            seen = ", ".join(map(str, judge.classes((made + 1) / 2).tolist()))
            words[-1].append(f"{share:.0%} of the way, length {length:g}: the judge reads {seen}.")
        rows.append(torch.cat(row, dim=1))
    picture = torch.cat(rows).numpy()
    write_png(picture, folder / "latent.png")
    return frames(picture, words) | {
        "made": f"DCGAN of lab 3, {steps:,} steps of 32 digits, seed {SEED}, its weights averaged over the last "
        f"hundred steps or so. Real digits: {digits.source}. The noise vectors are the first six of seed {SEED}, not "
        f"chosen. The judge is a classifier trained on the real digits for 1,000 steps, right on "
        f"{accuracy(judge, digits.test_images, digits.test_classes):.0%} of the test digits."
    }


# ---------------------------------------------------------------------------------------------------- CycleGAN


def draw_cyclegan(folder: Path) -> dict:
    """The fake CT of two slices of a patient that was not trained on, a frame for each look during the training."""
    recipe = replace(recipe_for("cyclegan", HERE, seed=SEED), watch_every=4)
    shown = (0, 4, 8, 12, 20, 32, 52, 84, 136, 220, 360, recipe.steps)  # most is learned at the start
    cases = 40
    with tempfile.TemporaryDirectory() as cohort:
        head.write_cohort(cohort, cases=cases, seed=SEED, shape=PHANTOM_SHAPES["cpu"], force=True)
        training_cases, test_cases = split_cases(find_cases(cohort), shares=(0.8, 0.2), seed=SEED)
        mr_slices, ct_slices = cohort_slices(training_cases, recipe)
        mr, ct = (slice_set(test_cases[:1], kind, recipe.spacing, recipe.size) for kind in ("mr", "ct"))
    chosen = [round(share * (len(mr) - 1)) for share in (0.3, 0.65)]
    training = TranslationTraining(recipe, mr_slices, ct_slices, HERE)
    row, words = [], []

    def look(training: TranslationTraining) -> None:
        if training.step not in shown:
            return
        fake = make(training.averaged, mr.images)
        error = 1250 * float((fake - ct.images)[mr.masks].abs().mean())
        both = torch.stack([fake[mr.masks], mr.images[mr.masks]])
        words.append(
            f"Step {training.step} of {recipe.steps}, epoch {training.step * recipe.batch / len(mr_slices):.1f}: mean "
            f"error {error:.0f} HU in the body, correlation with the MR {float(torch.corrcoef(both)[0, 1]):.2f}."
        )
        row.append(_as_seen(fake[chosen]))

    look(training)
    training.run(look)
    for name, images in (("mr", mr.images), ("ct", ct.images)):
        write_png(_as_seen(images[chosen]), folder / f"cyclegan_{name}.png")
    picture = np.concatenate(row, axis=1)
    write_png(picture, folder / "cyclegan.png")
    return frames(picture, [words]) | {
        "made": f"CycleGAN of lab 8 at the cpu tier: {recipe.steps} steps of {recipe.batch} MR and {recipe.batch} CT "
        f"slices, seed {SEED}, the averaged generator. {len(training_cases)} phantom patients of seed {SEED}, "
        f"half of them with MR only ({len(mr_slices)} slices, one epoch), half with CT only. What you see is another "
        f"patient, and the mean error is over all {len(mr)} slices of that patient. CT from -1000 to 1500 HU."
    }


def _as_seen(images: Tensor) -> np.ndarray:
    """Slices (N, 1, R, A) from -1 to 1, one below the other, as radiologists look at them, from 0 to 1."""
    turned = images[:, 0].transpose(1, 2).flip(1, 2)
    return (torch.cat(list(turned)).numpy() + 1) / 2


# ---------------------------------------------------------------------------------------------------- Grad-CAM


def draw_gradcam(folder: Path) -> dict:
    """Grad-CAM of four slices at each layer of a small network, and the slices with the true border of the lesion."""
    patients, steps = (80, 40), 1200
    layers = ("80 x 64", "40 x 32", "40 x 32", "20 x 16", "20 x 16")
    training = draw_lesion_slices(SEED, range(patients[0]), times=3)
    test = draw_lesion_slices(SEED, range(patients[0], sum(patients)))
    seed_everything(SEED, "site", "gradcam")
    network = nn.Sequential(
        conv_bn_relu(1, 8), conv_bn_relu(8, 16, stride=2), conv_bn_relu(16, 16), conv_bn_relu(16, 32, stride=2),
        conv_bn_relu(32, 64), average_and_classify(64, len(FINDINGS)),
    )  # fmt: skip
    images = torch.cat([training.images, training.images.flip(3)])  # a mirrored brain is a brain
    fit(network, images, training.classes.repeat(2), steps=steps, batch=32, rate=1e-2, seed=SEED, here=HERE)
    right = accuracy(network, test.images, test.classes)
    called = predict(network, test.images).argmax(1) == test.classes
    some = test[torch.cat([(called & (test.classes == kind)).nonzero()[:2, 0] for kind in (1, 2)])]
    masks = some.masks[:, 0].numpy()
    slices = matplotlib.colormaps["gray"](some.images[:, 0].numpy() / 3.3)
    write_png(_outlined(slices, masks, plots.COLOURS[4]), folder / "gradcam_slices.png")
    row, words = [], []
    for layer, size in enumerate(layers):
        maps = explain.scaled(explain.grad_cam(network, some.images, some.classes, network[layer]))
        row.append(_outlined(matplotlib.colormaps["cividis"](maps[:, 0].numpy()), masks, "white"))
        inside = sum(bool(some.masks[k].flatten()[maps[k].argmax()]) for k in range(len(some)))
        words.append(
            f"Layer {layer + 1} of {len(layers)}, maps of {size} values. The brightest pixel of the map lies in the "
            f"lesion in {inside} of {len(some)} slices."
        )
    picture = np.concatenate(row, axis=0)
    write_png(picture, folder / "gradcam.png")
    return frames(picture, [[line] for line in words]) | {
        "made": f"A network of five convolutions, each with batch normalisation and ReLU, and a global average, as in "
        f"lab 2 but with more layers: {steps:,} steps of 32 slices of {patients[0]} phantom patients, seed {SEED}. It "
        f"is right on {right:.0%} of {len(test)} slices of {patients[1]} others; guessing is right on a third. Shown: "
        f"the first two tumours and the first two calcifications that it calls by their name. T2-weighted MR. Each map "
        f"is divided by its own maximum."
    }


def _outlined(pictures: np.ndarray, masks: np.ndarray, colour: str, times: int = 3, gap: int = 12) -> np.ndarray:
    """Pictures (N, rows, columns, 4), `times` as large, side by side, with the border of each mask."""
    large, inside = (np.kron(x, np.ones((1, times, times) + (1,) * (x.ndim - 3))) for x in (pictures[..., :3], masks))
    for picture, mask in zip(large, inside.astype(bool), strict=True):
        border = mask & ~binary_erosion(mask, iterations=2)
        picture[border] = matplotlib.colors.to_rgb(colour)
    return np.concatenate([np.pad(p, ((gap // 2,) * 2, (gap // 2,) * 2, (0, 0)), constant_values=1) for p in large], 1)


# ---------------------------------------------------------------------------------------------------- front door


def draw_door(folder: Path) -> dict:
    """One slice as MR and as the CT that the shipped CycleGAN makes of it, and one picture of a half of each."""
    mr, _, body = pair_of(stranger(0, 1))
    (networks, about), at = models.load("cyclegan_mr_to_ct"), 52
    sct = synthesize(networks["to_ct"], mr, body, Recipe.from_json(about["recipe"]))
    low, high = plots.BONE_WINDOW
    grey = (
        plots.plane(normalise_mr(mr.data, body), "axial", at) / 2 + 0.5,
        (plots.plane(sct, "axial", at) - low) / (high - low),
    )
    pictures = [np.kron(np.clip(image[10:-10, 18:-18], 0, 1), np.ones((4, 4))) for image in grey]
    for name, picture in zip(("mr", "ct"), pictures, strict=True):
        write_png(picture, folder / f"door_{name}.png")
    half = pictures[0].shape[1] // 2
    write_png(np.concatenate([pictures[0][:, :half], pictures[1][:, half:]], 1), folder / "door.png")
    return {
        "made": f"The shipped CycleGAN on a phantom head that it has not met (seed {SEED}); CT from {low:.0f} to "
        f"{high:.0f} HU."
    }


DRAW: dict[str, Callable[[Path], dict]] = {
    "window": draw_window,
    "latent": draw_latent,
    "cyclegan": draw_cyclegan,
    "gradcam": draw_gradcam,
    "door": draw_door,
}


if __name__ == "__main__":
    setup()
    views = read_views() | {name: DRAW[name](VIEWS) for name in sys.argv[1:] or DRAW}
    write_views(views, VIEWS)
    for path in sorted(VIEWS.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")
