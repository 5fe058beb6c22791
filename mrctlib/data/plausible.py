"""Is an MR like those that a network was trained on? A few numbers of each, and in words what is unlike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrctlib.data.slices import body_window, depth_below_surface, scaled_stack
from mrctlib.data.volumes import Volume

GRID_MM, LAYERS = 3.2, 14  # coarse, so that fine voxels and their noise do not count
VAULT_MM = (25, 75)  # below the top of the body: bone all around the brain, however long the neck
LEAST_DISTANCE = 0.125  # patients of one contrast lie as far apart, even if the few that were trained on do not
SIZES = {"size_mm": ("its body measures", 1 / 1.3, 1.3), "spacing_mm": ("its voxels measure", 0, 2)}


def describe(mr: Volume, body: np.ndarray) -> dict[str, list[float]]:
    """What an MR looks like, in numbers that JSON can hold; body: bool, (R, A, S).

    histogram: the 5th, 10th ... 95th percentile in the body, relative to their mean; layers: the mean of each 3.2 mm
    from the skin inwards, in the vault, relative to the brain; ring, of intensities from 0 to 1: how much darker
    the skull is than skin and brain, about 0 without one. size_mm: of the body along R, A; spacing_mm: along R, A, S.

    Raises:
        InputError: see `mr_range` and `body_window`.
    """
    images, masks = scaled_stack(mr, body, "mr", GRID_MM, None)
    images = (images.numpy() + 1) / 2
    body_window(masks)
    below_top = (np.flatnonzero(masks.flatten(1).any(1))[-1] - np.arange(len(masks))) * mr.spacing[2]
    vault = (below_top >= VAULT_MM[0]) & (below_top <= VAULT_MM[1])
    vault = vault if masks[vault].any() else below_top >= 0
    layer = np.ceil(depth_below_surface(masks[vault], GRID_MM).numpy() / GRID_MM)
    layers = []
    for number in range(1, LAYERS + 1):  # where no body is that deep, it goes on as above
        here = images[vault][layer == number]
        layers.append(float(here.mean()) if len(here) else layers[-1])
    dark = 2 + int(np.argmin(layers[2:8]))
    extents = [np.ptp(np.flatnonzero(body.any(axes))) + 1 for axes in ((1, 2), (0, 2))]
    percentiles = np.percentile(images[masks], range(5, 100, 5))
    return {
        "histogram": (percentiles / percentiles.mean()).tolist(),  # relative, so that shading counts for less
        "layers": (np.array(layers) / max(np.mean(layers[6:]), 0.05)).tolist(),
        "ring": [min(max(layers[:dark]), max(layers[dark:])) - layers[dark]],
        "size_mm": [float(extent * mm) for extent, mm in zip(extents, mr.spacing, strict=False)],
        "spacing_mm": list(mr.spacing),
    }


def typical(descriptions: Sequence[dict]) -> dict:
    """Several patients as one: the median of each number, the least, the most, and how far a patient is off at most."""
    pooled = {"patients": len(descriptions)}
    for name in descriptions[0]:
        values = np.array([description[name] for description in descriptions])
        pooled[name] = {"middle": np.median(values, 0), "low": values.min(0), "high": values.max(0)}
        pooled[name] = {key: value.tolist() for key, value in pooled[name].items()}
    return pooled | {"reach": max(_distance(description, pooled) for description in descriptions)}


def _distance(description: dict, typical: dict) -> float:
    """Mean absolute difference of the histograms and, with half the weight, of the layers."""
    off = {name: np.subtract(description[name], typical[name]["middle"]) for name in ("histogram", "layers")}
    return float(np.abs(off["histogram"]).mean() + np.abs(off["layers"]).mean() / 2)


def unlike(description: dict, typical: dict) -> list[str]:
    """What is unlike the `typical` patient, a line each, with the figures that tell how sure that is; else empty."""
    trained, found = f"{typical['patients']} training patients", []
    distance, reach = _distance(description, typical), typical["reach"]
    if distance > max(1.5 * reach, LEAST_DISTANCE):
        far = f"distance {distance:.2f}; {trained} reach {reach:.2f}"
        found.append(f"its histogram is unlike what this run was trained on ({far})")
    ring, usual = description["ring"][0], typical["ring"]["middle"][0]
    if ring < usual / 5 and usual > 0.06:
        found.append(f"it has no dark ring (skull) between skin and brain (depth {ring:.2f}; {trained}: {usual:.2f})")
    for name, (words, least, most) in SIZES.items():
        size, low, high = description[name], typical[name]["low"], typical[name]["high"]
        if (np.less(size, np.multiply(low, least)) | np.greater(size, np.multiply(high, most))).any():
            here, lowest, highest = (" x ".join(f"{mm:.3g}" for mm in sizes) for sizes in (size, low, high))
            found.append(f"{words} {here} mm ({trained}: {lowest} to {highest})")
    return found
