"""What the scanners make of a head: each of their faults by itself, switched on and off."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrctlib.phantom.geometry import Space
from mrctlib.phantom.head import draw_patient, write_cohort
from mrctlib.phantom.imaging import SCANNERS, Variation, grain
from mrctlib.phantom.tissues import MPRAGE, TISSUES, inversion_recovery

CLEAN = replace(SCANNERS["a"], noise=0.0, bias=0.0, susceptibility=0.0, chemical_shift_mm=0.0, blur_mm=0.0)


@pytest.fixture(scope="module")
def patient():
    return draw_patient(0, 0, (96, 96, 72))


def median(image, patient, tissue):
    return float(np.median(image[patient.fractions[tissue].numpy() > 0.98]))


def test_an_mprage_is_as_bright_as_was_measured(patient):
    image = patient.mr("mprage", CLEAN)
    for tissue in ("white", "grey", "csf", "vitreous"):
        assert median(image, patient, tissue) == pytest.approx(1000 * MPRAGE[tissue][0], rel=0.02)


def test_flair_has_no_fluid_and_keeps_the_lesion_bright():
    ill = draw_patient(1, 2, (96, 96, 72), lesion="stroke")
    flair, t2w = ill.mr("flair", CLEAN), ill.mr("t2w", CLEAN)
    assert median(flair, ill, "csf") < 0.3 * median(flair, ill, "white")
    assert median(t2w, ill, "csf") > 2 * median(t2w, ill, "white")
    assert median(flair, ill, "stroke") > 1.2 * median(flair, ill, "grey")


def test_inversion_nulls_what_has_half_regrown():
    water = TISSUES["csf"]
    null = water.t1 * np.log(2)  # TR long against T1
    assert inversion_recovery(water, tr=1e6, te=0, ti=null) == pytest.approx(0, abs=1e-6)


def test_the_four_dixon_images_are_two_echoes(patient):
    images = {name: patient.mr(f"dixon_{name}", CLEAN) for name in ("in", "out", "water", "fat")}
    np.testing.assert_allclose(images["water"] + images["fat"], images["in"], atol=0.5)
    np.testing.assert_allclose(np.abs(images["water"] - images["fat"]), images["out"], atol=0.5)
    shaded = {name: patient.mr(f"dixon_{name}", replace(CLEAN, bias=0.3)) for name in ("in", "water")}
    both = (images["in"] > 100) & (images["water"] > 100)
    shading = [shaded[name][both] / images[name][both] for name in ("in", "water")]
    np.testing.assert_allclose(*shading, rtol=0.01)


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        ({"gibbs": 0.6}, 5), ({"motion": 3.0}, 5), ({"susceptibility": 1.0}, 2), ({"chemical_shift_mm": 3.0}, 2),
        ({"bias": 0.3}, 20), ({"noise": 0.05}, 10), ({"blur_mm": 2.0}, 5),
    ],
)  # fmt: skip
def test_every_fault_changes_the_image_and_more_of_it_more(patient, fault, least):
    ((name, strength),) = fault.items()
    clean = patient.mr("mprage", CLEAN)
    half, full = (patient.mr("mprage", replace(CLEAN, **{name: share * strength})) for share in (0.5, 1.0))
    body = patient.body
    assert np.abs(full - clean)[body].mean() > least
    assert np.abs(full - clean)[body].mean() > 1.1 * np.abs(half - clean)[body].mean()


def test_signal_is_lost_beside_air_in_the_head_and_fat_is_moved(patient):
    clean, lossy = patient.mr("mprage", CLEAN), patient.mr("mprage", replace(CLEAN, susceptibility=1.0))
    lost = (clean - lossy) > 150
    z = patient.space.axes[2].numpy()
    assert lost.any() and np.mean(np.nonzero(lost)[2] < np.searchsorted(z, 0)) > 0.95
    pixel = patient.space.spacing[0]
    shifted = patient.mr("dixon_fat", replace(CLEAN, chemical_shift_mm=pixel))
    np.testing.assert_allclose(shifted[1:], patient.mr("dixon_fat", CLEAN)[:-1], atol=1.0)


def test_ct_noise_has_grain_and_the_standard_deviation_that_was_asked(patient):
    noise = patient.ct() - patient.ct(noisy=False)
    inside = noise[:, :, 30:40]
    assert inside.std() == pytest.approx(SCANNERS["a"].ct_noise, rel=0.06)
    fine = grain((64, 64, 8), (1.0, 1.0, 1.0), torch.Generator().manual_seed(0)).numpy()
    assert np.corrcoef(fine[1:].ravel(), fine[:-1].ravel())[0, 1] > 0.15
    assert abs(np.corrcoef(fine[:, :, 1:].ravel(), fine[:, :, :-1].ravel())[0, 1]) < 0.1


def test_the_table_lies_outside_of_the_body_and_bone_hardens_the_beam(patient):
    bare = replace(SCANNERS["a"], table=False)
    table = patient.ct("a", noisy=False) - patient.ct(bare, noisy=False)
    assert table.max() > 200 and np.abs(table[patient.body]).max() == 0
    cupped = patient.ct(bare, noisy=False) - patient.ct(replace(bare, cupping=0.0), noisy=False)
    brain = (patient.fractions["white"] + patient.fractions["grey"]).numpy() > 0.9
    assert 0 < cupped[brain].mean() < 10 and np.percentile(cupped[brain], 95) > 2 * np.percentile(cupped[brain], 20)


def test_variation_draws_each_patient_anew_and_the_same_one_again(tmp_path):
    shape = (48, 48, 36)
    first, again, other = (draw_patient(0, case, shape, variation=Variation()) for case in (0, 0, 1))
    np.testing.assert_array_equal(first.mr("mprage"), again.mr("mprage"))
    assert first.scanner != other.scanner and first.hu["bone"] != other.hu["bone"]
    plain = draw_patient(0, 0, shape)
    assert first.body.sum() != plain.body.sum()
    narrow = Variation(size=(1.0, 1.0), skull=(6.0, 6.0), cut=(0.2, 0.2), bone=(0.5, 0.5))
    cut = draw_patient(0, 0, shape, variation=narrow)
    assert not cut.body[:, :, :7].any() and cut.body[:, :, 7].any() and plain.body[:, :, :7].any()
    assert cut.hu["bone"] == 0.5 * plain.hu["bone"]
    folder = write_cohort(tmp_path / "c", 1, shape=(32, 32, 24), contrast="mprage", vary=True)
    assert '"variation"' in (folder / "cohort.json").read_text()


def test_a_finer_space_has_the_same_field():
    coarse, fine = Space((16, 16, 12)), Space((32, 32, 24))
    fields = [space.smooth_noise(torch.Generator().manual_seed(1), 90) for space in (coarse, fine)]
    pooled = fields[1].reshape(16, 2, 16, 2, 12, 2).mean((1, 3, 5))
    assert float((pooled - fields[0]).abs().mean()) < 0.12
