"""The metrics against hand-computed cases, the published evaluation code, scikit-image and torchmetrics."""

import math
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrctlib import metrics
from mrctlib.course.networks.segmentation import dice_per_label
from mrctlib.runtime import InputError

BOTH = pytest.mark.parametrize("definition", list(metrics.DEFINITIONS))


def head(shape: tuple[int, int, int] = (32, 30, 28)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nested ellipsoids (skin, bone, brain), a synthetic CT with known errors, and the mask: no randomness."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, length) for length in shape], indexing="ij")
    radius = np.sqrt((x / 0.9) ** 2 + (y / 0.8) ** 2 + (z / 0.85) ** 2)
    mask = radius < 1
    tissue = 30 + 20 * np.sin(9 * x) * np.cos(7 * y)
    ct = np.select([radius < 0.75, radius < 0.9, mask], [tissue, 1200.0, 40.0], -1000.0)
    sct = np.where(mask, 0.8 * ct + 60 * np.sin(11 * y + 5 * z) + 30, -1000.0)
    return ct, sct, mask


def pair(real: list[float], fake: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A volume of a few voxels, all in the mask."""
    ct, sct = (np.array(values, float).reshape(1, 1, -1) for values in (real, fake))
    return ct, sct, np.ones(ct.shape, bool)


# By hand


def test_mae_by_hand():
    ct, sct, mask = pair([0, 100, -1000, 50], [10, 80, -1000, 9999])
    mask[0, 0, 3] = False
    assert metrics.mae(ct, sct, mask) == 10.0  # (10 + 20 + 0) / 3


def test_mae_is_not_clipped_but_psnr_is():
    ct, sct, mask = pair([3000, -1024], [5000, -3000])
    assert metrics.mae(ct, sct, mask) == (2000 + 1976) / 2
    assert metrics.psnr(ct, sct, mask) == math.inf  # both ends lie beyond the range


def test_psnr_by_hand_and_its_range():
    ct, sct, mask = pair([0, 0], [40.24, -40.24])
    assert metrics.psnr(ct, sct, mask, "synthrad2023") == pytest.approx(40.0)  # 20 log10(4024 / 40.24)
    assert metrics.psnr(ct, sct, mask, "synthrad2025") == pytest.approx(20 * math.log10(4095 / 40.24))


def test_dice_by_hand():
    a, b = np.array([1, 1, 1, 0]), np.array([0, 1, 1, 1])
    assert metrics.dice(a, b) == pytest.approx(2 / 3)
    assert metrics.dice(a, 1 - a) == 0.0
    assert metrics.dice(a * 0, b * 0) == 1.0
    assert metrics.dice(a, b * 0) == 0.0


def test_bone_dice_counts_what_is_above_the_threshold_inside_the_mask():
    ct, sct, mask = pair([301, 300, 500, 900], [400, 999, 0, 900])
    mask[0, 0, 3] = False
    assert metrics.bone_dice(ct, sct, mask) == 0.5  # {0, 2} and {0, 1}
    assert metrics.bone_dice(ct, sct, mask, threshold=2000) == 1.0  # no bone in either


# The challenges' own code: the volumes of `head` were put through it once, and these are its answers.


@pytest.mark.parametrize(
    ("shape", "single", "multi"),
    [
        ((32, 32, 32), 0.97644381, 0.99555012),
        ((64, 64, 48), 0.97321633, 0.99028926),
        ((100, 104, 97), 0.97783493, 0.98410098),  # no axis needs widening
        ((130, 120, 60), 0.97761943, 0.98607570),
    ],
)
def test_ssim_equals_the_published_evaluation_code(shape, single, multi):
    volumes = head(shape)
    assert metrics.ssim(*volumes, "synthrad2023") == pytest.approx(single, abs=1e-6)
    assert metrics.ssim(*volumes, "synthrad2025") == pytest.approx(multi, abs=1e-6)


# Other libraries


def test_psnr_equals_scikit_image():
    ct, sct, mask = head()
    expected = peak_signal_noise_ratio(ct[mask], sct[mask], data_range=4024)
    assert metrics.psnr(ct, sct, mask) == pytest.approx(expected)


def test_ssim_equals_scikit_image():
    ct, sct, mask = head()
    everywhere = np.ones_like(mask)
    expected = structural_similarity(ct + 1024, sct + 1024, data_range=4024)
    assert metrics.ssim(ct, sct, everywhere) == pytest.approx(expected, abs=1e-6)
    gaussian = structural_similarity(ct + 1024, sct + 1024, data_range=4024, gaussian_weights=True)
    assert abs(gaussian - expected) > 1e-3  # the window matters, so it has to be named


def test_psnr_and_ssim_agree_with_torchmetrics():
    image = pytest.importorskip("torchmetrics.functional.image")
    import torch

    ct, sct, mask = head()
    real, fake = (torch.from_numpy(volume[mask]) for volume in (ct, sct))
    psnr = image.peak_signal_noise_ratio(fake, real, data_range=4024.0).item()
    assert metrics.psnr(ct, sct, mask) == pytest.approx(psnr, rel=1e-6)

    real, fake = (torch.from_numpy(np.where(mask, volume, -1024) + 1024)[None, None] for volume in (ct, sct))
    # torchmetrics divides covariances by n, scikit-image by n - 1: the same as a constant k2 smaller by its root.
    k2 = 0.03 / math.sqrt(343 / 342)
    options = {"gaussian_kernel": False, "kernel_size": 7, "data_range": 4024.0, "k2": k2, "return_full_image": True}
    similarity = image.structural_similarity_index_measure(fake, real, **options)[1][0, 0].numpy()
    core = (slice(3, -3),) * 3
    assert metrics.ssim(ct, sct, mask) == pytest.approx(similarity[core][mask[core]].mean(), abs=1e-5)


# What must not change a figure, and what must


@BOTH
def test_identical_volumes_are_perfect(definition):
    ct, _, mask = head()
    perfect = {"mae_hu": 0.0, "psnr_db": math.inf, "ssim": pytest.approx(1.0), "bone_dice": 1.0}
    assert metrics.evaluate(ct, ct, mask, definition) == perfect


@BOTH
def test_outside_the_mask_nothing_counts(definition):
    ct, sct, mask = head()
    spoiled = [np.where(mask, volume, junk) for volume, junk in ((ct, np.nan), (sct, 1e9))]
    assert metrics.evaluate(*spoiled, mask, definition) == metrics.evaluate(ct, sct, mask, definition)


@BOTH
def test_the_order_of_axes_and_the_type_do_not_matter(definition):
    volumes = [volume.round() if volume.dtype == float else volume for volume in head((24, 24, 24))]
    expected = pytest.approx(metrics.evaluate(*volumes, definition), rel=1e-4)
    assert metrics.evaluate(*[volume.transpose(2, 0, 1) for volume in volumes], definition) == expected
    as_stored = [volumes[0].astype(np.int16), volumes[1].astype(np.float32), volumes[2].astype(np.uint8)]
    assert metrics.evaluate(*as_stored, definition) == expected


@BOTH
def test_more_error_is_worse_in_every_metric(definition):
    ct, sct, mask = head()
    near, far = (metrics.evaluate(ct, ct + share * (sct - ct), mask, definition) for share in (0.5, 2.0))
    assert near["mae_hu"] < far["mae_hu"] and near["psnr_db"] > far["psnr_db"]
    assert near["ssim"] > far["ssim"] and near["bone_dice"] >= far["bone_dice"]


def test_the_definitions_give_different_figures_for_the_same_error():
    ct, sct, mask = head()
    old, new = (metrics.evaluate(ct, sct, mask, name) for name in ("synthrad2023", "synthrad2025"))
    assert old["mae_hu"] == new["mae_hu"] and old["bone_dice"] == new["bone_dice"]
    assert new["psnr_db"] - old["psnr_db"] == pytest.approx(20 * math.log10(4095 / 4024))  # 0.15 dB for nothing
    assert old["ssim"] != new["ssim"]
    assert str(metrics.DEFINITIONS["synthrad2023"]) == "synthrad2023, [-1024, 3000] HU"
    assert metrics.DEFINITIONS["synthrad2025"].span == 4095


def test_a_scale_without_mask_is_left_out():
    ct, sct, _ = head()
    mask = np.zeros(ct.shape, bool)
    mask[15:18, 5:8, 9:12] = True  # the coarser scales keep too few voxels to meet it
    score = metrics.ssim(ct, sct, mask, "synthrad2025")
    assert 0 < score < 1
    assert metrics.ssim(ct, ct, mask, "synthrad2025") == pytest.approx(1.0)


# Bad input


@pytest.mark.parametrize("measure", [metrics.mae, metrics.psnr, metrics.ssim, metrics.bone_dice, metrics.evaluate])
def test_bad_volumes_are_refused_in_one_line(measure):
    ct, sct, mask = head((8, 8, 8))
    spoiled = sct.copy()
    spoiled[4, 4, 4] = np.nan
    for arguments, words in [
        ((ct, sct[1:], mask), "shapes differ: ct .8, 8, 8., sct .7, 8, 8."),
        ((ct, sct, mask[:, :, 0]), "shapes differ"),
        ((ct[0], sct[0], mask[0]), "not 3-D"),
        ((ct, sct, mask & False), "mask is empty"),
        ((ct, spoiled, mask), "sct holds NaN"),
        ((spoiled, sct, mask), "ct holds NaN"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            measure(*arguments)
        assert "\n" not in str(caught.value)


def test_an_unknown_definition_is_refused_with_the_list():
    volumes = head((8, 8, 8))
    for measure in (metrics.psnr, metrics.ssim, metrics.evaluate):
        with pytest.raises(InputError, match="'synthrad2024'.*synthrad2023, synthrad2025"):
            measure(*volumes, "synthrad2024")


def test_ssim_says_what_it_cannot_measure():
    ct, sct, mask = head((8, 8, 6))
    with pytest.raises(InputError, match="7 voxels along every axis"):
        metrics.ssim(ct, sct, mask)
    ct, sct, mask = head((97, 8, 8))
    mask[:] = False
    mask[0] = True
    for definition in metrics.DEFINITIONS:
        with pytest.raises(InputError, match="outer 3 voxels"):
            metrics.ssim(ct, sct, mask, definition)
    with pytest.raises(InputError, match="shapes differ"):
        metrics.dice(np.ones(3), np.ones(4))


# Baselines


def test_baselines_by_hand():
    ct, mr, mask = pair([-100, 0, 100, 1000, 7], [1, 2, 3, 4, 99])
    mask[0, 0, 4] = False
    volumes = metrics.baselines(mr, ct, mask)
    inside = {name: volume[mask].tolist() for name, volume in volumes.items()}
    assert list(inside) == ["water", "MR rescaled", "best constant", "best line", "best lookup"]
    assert inside["water"] == [0, 0, 0, 0]
    assert inside["best constant"] == [50, 50, 50, 50]
    assert inside["best line"] == pytest.approx([-260, 80, 420, 760])  # mean 250, slope 340
    assert inside["best lookup"] == [-100, 0, 100, 1000]  # each intensity has one voxel
    top = 3.985  # the 99.5th percentile of 1, 2, 3, 4
    assert inside["MR rescaled"] == pytest.approx([min(v / top, 1) * 2500 - 1000 for v in (1, 2, 3, 4)])
    assert all(volume[0, 0, 4] == -1000 and volume.dtype == np.float32 for volume in volumes.values())


def test_baselines_are_as_good_as_their_names_say():
    ct, _, mask = head()
    mr = np.round(ct % 97)  # some relation to the CT, with ties
    errors = {name: metrics.mae(ct, volume, mask) for name, volume in metrics.baselines(mr, ct, mask).items()}
    assert errors["best lookup"] <= errors["best constant"] <= errors["water"] < errors["MR rescaled"]
    slope, intercept = np.polyfit(mr[mask], ct[mask], 1)
    assert errors["best line"] == pytest.approx(np.abs(slope * mr + intercept - ct)[mask].mean(), rel=1e-5)


def test_a_flat_mr_and_an_empty_one():
    ct, _, mask = head((8, 8, 8))
    flat = metrics.baselines(np.ones(ct.shape), ct, mask)
    assert np.allclose(flat["best line"][mask], ct[mask].mean())
    assert np.array_equal(flat["best lookup"], flat["best constant"])
    with pytest.raises(InputError, match="MR is 0 or less"):
        metrics.baselines(np.zeros(ct.shape), ct, mask)
    with pytest.raises(InputError, match="mr holds NaN"):
        metrics.baselines(ct * np.nan, ct, mask)


def test_known_figures_of_the_real_pair():
    """Mean absolute errors of the MNI average MR against a CT template, known from outside this library."""
    folder = Path(os.environ.get("MRCT_DATA", "")) / "mr_ct" / "1MNI01"
    if not (folder / "ct.nii.gz").is_file():
        pytest.skip("the real pair is not here: set MRCT_DATA to a folder that holds mr_ct/1MNI01")
    import nibabel

    mr, ct, mask = (
        nibabel.as_closest_canonical(nibabel.load(folder / f"{name}.nii.gz")).get_fdata()
        for name in ("mr", "ct", "mask")
    )
    volumes = metrics.baselines(mr, ct, mask)
    errors = {name: metrics.mae(ct, volume, mask) for name, volume in volumes.items()}
    assert errors["water"] == pytest.approx(86.0, abs=0.05)
    assert errors["best constant"] == pytest.approx(76.4, abs=0.05)
    assert errors["best line"] == pytest.approx(77.6, abs=0.05)
    assert errors["best lookup"] == pytest.approx(68.3, abs=0.3)  # depends a little on the bins
    assert metrics.mae(ct, mr * 2.5 - 1000, mask) == pytest.approx(431.8, abs=0.05)  # [0, 1000] to [-1000, 1500]
    # The 99.5th percentile is 788, not 1000, so our rescaling is brighter and further off.
    assert errors["MR rescaled"] == pytest.approx(622.1, abs=0.05)
    # Run once through the published code of each challenge.
    assert metrics.ssim(ct, volumes["best lookup"], mask, "synthrad2025") == pytest.approx(0.902898, abs=1e-5)


def test_dice_of_named_labels():
    labels, predicted = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 2]])
    found = dice_per_label(labels, predicted, ("csf", "grey", "white"))
    assert found == pytest.approx({"csf": 2 / 3, "grey": 2 / 3, "white": 1})  # white is nowhere in either


def test_evaluate_checks_and_casts_once_and_agrees_with_each_metric(monkeypatch):
    ct, sct, mask = head()
    checks = []
    monkeypatch.setattr(
        metrics, "_checked", lambda mask, check=metrics._checked, **v: checks.append(v) or check(mask, **v)
    )
    scores = metrics.evaluate(ct, sct, mask)
    assert len(checks) == 1
    each = metrics.mae, metrics.psnr, metrics.ssim, metrics.bone_dice
    assert list(scores.values()) == [metric(ct, sct, mask) for metric in each]


def test_an_evaluation_takes_a_few_copies_of_a_volume():
    """In bytes a voxel, beside CT and synthetic CT with 4 each; with SSIM of all at once it takes 81."""
    real = np.random.default_rng(0).normal(0, 300, (320, 60, 60)).astype(np.float32)
    fake, mask = real + 9, np.ones(real.shape, bool)
    tracemalloc.start()
    try:
        metrics.evaluate(real, fake, mask)
        assert tracemalloc.get_traced_memory()[1] < 48 * real.size
    finally:
        tracemalloc.stop()


def test_ssim_in_slabs_is_that_of_the_whole():
    generator = np.random.default_rng(0)
    real = generator.random((metrics.SLAB + 7, 20, 20), np.float32)
    fake = real + generator.random(real.shape, np.float32) / 9
    whole = structural_similarity(real, fake, win_size=7, data_range=1, full=True)[1][metrics.CORE]
    np.testing.assert_allclose(metrics._ssim_map(real, fake, 1), whole, atol=1e-5)
