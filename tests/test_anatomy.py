"""The phantom's heads, measured like twenty real ones (MPRAGE scans with label maps), and what must be seen in them."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mrctlib.phantom.head import Patient, draw_patient
from mrctlib.phantom.tissues import BRAIN

# What twenty real heads measure: mean, standard deviation, least and most. Volumes in ml, lengths in mm. The width is
# that above the ears. The last two bounds of scalp (inner table to skin) and of grey / white are those of this ruler
# on six of the heads.
REAL = {
    "grey": (604, 89, 434, 797),
    "white": (479, 56, 353, 605),
    "grey / white": (1.3, 0.1, 1.1, 1.45),
    "ventricles": (41, 25, 8, 91),
    "csf": (382, 88, 258, 550),
    "skull": (5.2, 0.9, 2.8, 7.1),
    "scalp": (10.6, 1.2, 7.5, 14.0),
    "width": (162, 5, 140, 176),
    "length": (217, 11, 194, 236),
    "width inside": (141, 9, 124, 160),
    "length inside": (180, 14, 154, 200),
}
ABOVE_MM = 60.0  # thicknesses are measured over this much of the brain, from its top
HEADS = Path(os.environ.get("MRCT_DATA", "")) / "head_labels"


def largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    return pieces == 1 + np.argmax(ndimage.sum(mask, pieces, range(1, count + 1)))


def measure(brain: dict[str, np.ndarray], bone: np.ndarray, body: np.ndarray, spacing: tuple) -> dict[str, float]:
    """`brain`: the share of each voxel of grey, white, ventricles and csf (the ventricles not counted)."""
    ml = float(np.prod(spacing)) / 1000
    measured = {name: float(share.sum()) * ml for name, share in brain.items()}
    measured["grey / white"] = measured["grey"] / measured["white"]
    cortex = np.nonzero(largest(brain["grey"] + brain["white"] > 0.5).any((0, 1)))[0]
    low = cortex.max() - round(ABOVE_MM / spacing[2])
    inside = ndimage.binary_closing(largest(sum(brain.values()) > 0.5), iterations=2)
    skull = ndimage.binary_closing((bone > 0.5) | inside)
    inner_table = ndimage.binary_dilation(inside) & ~inside & (bone > 0.5)
    inner_table[:, :, :low] = False
    measured["skull"] = np.median(ndimage.distance_transform_edt(skull, sampling=spacing)[inner_table])
    body = ndimage.binary_fill_holes(body)
    measured["scalp"] = np.median(ndimage.distance_transform_edt(body, sampling=spacing)[inner_table])
    for name, mask, axis in (("width", body[:, :, low:], 0), ("length", body, 1), ("width inside", inside, 0)):
        measured[name] = extent(mask, axis) * spacing[axis]
    return measured | {"length inside": extent(inside, 1) * spacing[1]}


def extent(mask: np.ndarray, axis: int) -> int:
    there = np.nonzero(mask.any(tuple(i for i in range(3) if i != axis)))[0]
    return there.max() - there.min() + 1


def measure_patient(patient: Patient) -> dict[str, float]:
    f = {name: share.numpy() for name, share in patient.fractions.items()}
    ventricles = patient.ventricles.numpy()
    brain = {"grey": f["grey"], "white": f["white"], "ventricles": ventricles, "csf": f["csf"] - ventricles}
    return measure(brain, f["bone"] + f["marrow"], patient.body, patient.space.spacing)


@pytest.fixture(scope="module")
def twenty():
    rows = [measure_patient(draw_patient(0, case)) for case in range(20)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", REAL)
def test_twenty_heads_measure_like_twenty_real_ones(twenty, name):
    mean, spread, least, most = REAL[name]
    values = twenty[name]
    print(f"{name}: {values.mean():.2f} ({values.std():.2f}), {values.min():.2f} to {values.max():.2f}")
    assert abs(values.mean() - mean) < spread
    assert least <= values.min() and values.max() <= most
    assert 0.3 * spread < values.std() < 1.6 * spread


@pytest.mark.skipif(not HEADS.is_dir(), reason="no label maps of real heads in MRCT_DATA/head_labels")
def test_the_ruler_measures_real_heads_as_published():
    codes = {
        "grey": [3, 42, 8, 47, 10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58],
        "white": [2, 41, 7, 46, 16, 28, 60, 77, 85, 251, 252, 253, 254, 255],
        "ventricles": [4, 43, 14, 15, 5, 44],
        "csf": [24],
    }
    for path in sorted(HEADS.glob("*.nii.gz")):
        labels = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj).astype(int)[::2, ::2, ::2]
        brain = {name: np.isin(labels, numbers).astype(np.float32) for name, numbers in codes.items()}
        row = measure(brain, np.isin(labels, [515, 516]), labels > 0, (2.0, 2.0, 2.0))
        for name, (_, _, least, most) in REAL.items():
            assert least * 0.98 <= row[name] <= most * 1.02, (path.name, name, row[name])


@pytest.fixture(scope="module")
def patient():
    return draw_patient(0, 0)


def test_a_brain_window_shows_folds_and_ventricles_dark(patient):
    ct = patient.ct(noisy=False)
    grey, white, csf = (np.median(ct[patient.fractions[name].numpy() > 0.9]) for name in ("grey", "white", "csf"))
    assert 8 < grey - white < 20 and -25 < csf - white < -12
    assert np.median(ct[patient.ventricles.numpy() > 0.9]) < white - 12


def test_folds_reach_into_the_brain_and_differ_from_side_to_side(patient):
    brain = sum(patient.fractions[name] for name in BRAIN).numpy() > 0.5
    depth = ndimage.distance_transform_edt(brain, sampling=patient.space.spacing)
    fluid = (patient.fractions["csf"] - patient.ventricles).numpy() > 0.4
    upper = np.zeros_like(brain)
    upper[:, :, 60:80] = True
    assert (fluid & upper & (depth > 8)).sum() > 300  # voxels of sulci deeper than 8 mm
    fluid = fluid[:, :, 60:80]
    assert np.corrcoef(fluid.ravel(), fluid[::-1].ravel())[0, 1] < 0.6


def test_air_cells_lie_inside_bone_and_sinuses_have_walls(patient):
    air, bone = patient.fractions["air"].numpy() * patient.body, patient.fractions["bone"].numpy()
    z = patient.space.axes[2].numpy()
    x = patient.space.axes[0].numpy()
    mastoid = (np.abs(x) > 44)[:, None, None] & ((z > -70) & (z < -44))[None, None] & (air > 0.5)
    assert mastoid.sum() > 20
    near_bone = ndimage.maximum_filter(bone, size=3)[mastoid]
    assert (near_bone > 0.3).mean() > 0.9


def test_age_widens_what_it_should():
    young, old = (draw_patient(0, 3, (64, 64, 48), age=age) for age in (25, 80))
    assert float(old.ventricles.sum()) > 1.3 * float(young.ventricles.sum())
    assert float(old.fractions["csf"].sum()) > 1.1 * float(young.fractions["csf"].sum())
    assert np.mean(old.body == young.body) > 0.999


def test_fillings_throw_streaks_and_contrast_agent_lights_vessels_up():
    plain, filled = (draw_patient(0, 1, fillings=wanted) for wanted in (False, True))
    changed = np.abs(filled.ct(noisy=False) - plain.ct(noisy=False))
    assert filled.ct(noisy=False).max() > 2500 and (changed > 60).sum() > 10 * (changed > 1000).sum() > 0
    enhanced = draw_patient(0, 1, contrast_agent=True)
    vessels = plain.fractions["blood"].numpy() > 0.7
    assert np.median(enhanced.ct(noisy=False)[vessels]) > np.median(plain.ct(noisy=False)[vessels]) + 80
    assert np.median(enhanced.mr("mprage")[vessels]) > 2 * np.median(plain.mr("mprage")[vessels])
