"""Dose: the curves against their sources, the path against closed forms, and a case where the MAE misleads."""

import math

import numpy as np
import pytest
from scipy import ndimage

from mrctlib import metrics
from mrctlib.course import dose
from mrctlib.course.synthetic import dose_off
from mrctlib.phantom.geometry import FIELD_OF_VIEW_MM
from mrctlib.phantom.head import draw_patient
from mrctlib.runtime import InputError

ANGLES = pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 123.0, 180.0, 270.0])


def disc(size: int, spacing: float, radius: float, centre: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """The share of each pixel that lies in a disc (mm, about the middle of the slice), from 8 x 8 points in each."""
    fine = (np.arange(8 * size) + 0.5) / 8 * spacing - size * spacing / 2
    inside = np.hypot(fine[:, None] - centre[0], fine - centre[1]) <= radius
    return inside.reshape(size, 8, size, 8).mean(axis=(1, 3))


def water_head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CT (HU), body and target of a round head of water with a skull, 96 x 96 pixels of 2 mm, noiseless."""
    brain, skull, skin = (disc(96, 2, radius) for radius in (70, 77, 85))
    ct = -1000 + 1000 * skin + 1000 * (skull - brain)
    return ct, skin > 0.5, disc(96, 2, 20) > 0.5


# The curves


def test_water_is_1_and_air_is_nearly_nothing():
    for curve in (dose.relative_electron_density, dose.relative_stopping_power):
        assert curve(0) == 1.0
        assert 0 < curve(-1000) < 0.0012
        assert curve(-1000) == curve(-1024) and curve(2995) == curve(4000)  # constant beyond the ends


def test_the_curves_only_rise_and_keep_the_shape():
    hu = np.arange(-1000, 2996).reshape(4, 999)
    for curve in (dose.relative_electron_density, dose.relative_stopping_power):
        values = curve(hu.astype(np.int16))
        assert values.shape == hu.shape
        assert (np.diff(values.ravel()) > 0).all()


def schneider_density(hu: float) -> float:
    """g/cm3 in Schneider et al. 2000, whose pieces for tissue between 23 and 100 HU and for bone do not meet."""
    for end, offset, slope in ((-98, 1.03091, 0.0010297), (14, 1.018, 0.000893), (23, 1.03, 0), (100, 1.003, 0.001169)):
        if hu <= end:
            return offset + slope * hu
    return 1.017 + 0.000592 * hu if hu <= 2000 else 1.201 + 0.0005 * hu


@pytest.mark.parametrize("name", [name for name in dose.TISSUES if name not in ("air", "water")])
def test_tissues_lie_where_the_density_curve_of_schneider_puts_them(name):
    tissue = dose.TISSUES[name]
    assert schneider_density(tissue.hu) == pytest.approx(tissue.density, abs=0.002)


# Z / A of the elements, and the composition by weight (%) of Schneider et al. 2000 in the middle of a range of HU
Z_OVER_A = {"H": 1 / 1.008, "C": 6 / 12.011, "N": 7 / 14.007, "O": 8 / 15.999, "Na": 11 / 22.990, "Mg": 12 / 24.305}
Z_OVER_A |= {"P": 15 / 30.974, "S": 16 / 32.06, "Cl": 17 / 35.45, "K": 19 / 39.098, "Ca": 20 / 40.078}
COMPOSITIONS = {
    -700: {"H": 10.3, "C": 10.5, "N": 3.1, "O": 74.9, "Na": 0.2, "P": 0.2, "S": 0.3, "Cl": 0.3, "K": 0.2},
    -101.5: {"H": 11.6, "C": 68.1, "N": 0.2, "O": 19.8, "Na": 0.1, "S": 0.1, "Cl": 0.1},
    49: {"H": 10.3, "C": 13.4, "N": 3.0, "O": 72.3, "Na": 0.2, "P": 0.2, "S": 0.2, "Cl": 0.2, "K": 0.2},
    250: {"H": 8.9, "C": 42.3, "N": 2.7, "O": 36.3, "Na": 0.1, "P": 3.0, "S": 0.1, "Cl": 0.1, "K": 0.1, "Ca": 6.4},
    850: {"H": 5.6, "C": 26.5, "N": 3.6, "O": 40.5, "Na": 0.1, "Mg": 0.2, "P": 7.3, "S": 0.3, "Ca": 15.9},
    1450: {"H": 3.6, "C": 16.5, "N": 4.2, "O": 43.2, "Na": 0.1, "Mg": 0.2, "P": 10.0, "S": 0.3, "Ca": 21.9},
}


@pytest.mark.parametrize("hu", COMPOSITIONS)
def test_electron_density_agrees_with_the_compositions_of_schneider(hu):
    electrons = sum(share / 100 * Z_OVER_A[element] for element, share in COMPOSITIONS[hu].items())
    expected = schneider_density(hu) * electrons / (0.111894 * Z_OVER_A["H"] + 0.888106 * Z_OVER_A["O"])
    assert float(dose.relative_electron_density(hu)) == pytest.approx(expected, rel=0.012)


def test_electron_density_agrees_with_a_planning_system():
    # The default table of matRad (German Cancer Research Center), e0404/matRad, matRad_default.hlut.
    table = {-480: 0.5, -96: 0.95, 48: 1.04, 128: 1.08, 528: 1.29, 976: 1.52, 1488: 1.72, 1824: 1.95, 2224: 2.15}
    ours = dose.relative_electron_density(np.array(list(table)))
    assert np.abs(ours - np.array(list(table.values()))).max() < 0.045


def test_stopping_power_by_hand():
    # Protons of 150 MeV: gamma = 1 + 150 / 938.272, so beta^2 = 0.256668 and 2 m c^2 (beta gamma)^2 = 352,890 eV;
    # Bethe's logarithm is ln(352890 / 75.0) - 0.2567 = 8.1998 in water, ln(352890 / 112.0) - 0.2567 = 7.7987 in bone.
    bone = dose.TISSUES["cortical bone"]
    assert bone.relative_electron_density == pytest.approx(1.92 * 0.51478 / 0.55508)
    assert bone.relative_stopping_power == pytest.approx(bone.relative_electron_density * 7.7987 / 8.1998, rel=1e-4)
    fat, muscle = dose.TISSUES["adipose"], dose.TISSUES["muscle"]
    assert fat.relative_stopping_power > fat.relative_electron_density  # fat has the lower excitation energy
    assert muscle.relative_stopping_power == pytest.approx(muscle.relative_electron_density, rel=0.002)


# The path, against closed forms


def path_of(density: np.ndarray, spacing: tuple[float, ...], angle: float = 0.0) -> np.ndarray:
    """How many mm of water the beam has passed at each pixel's centre, an array as the slice `density`."""
    beam = dose.Beam(density.shape, spacing, angle)
    return beam.scatter(beam.depth(density))


@pytest.mark.parametrize(("angle", "axis", "flip"), [(0, 0, False), (90, 1, False), (180, 0, True), (270, 1, True)])
@pytest.mark.parametrize(("spacing", "tolerance"), [((2.0, 2.0), 1e-9), ((2.0, 1.5), 0.04)])
def test_depth_in_a_box_of_water_is_the_distance_to_its_face(angle, axis, flip, spacing, tolerance):
    path = path_of(np.ones((10, 13)), spacing, angle)
    index = np.arange(path.shape[axis])
    depth = ((index[::-1] if flip else index) + 0.5) * spacing[axis]
    expected = np.broadcast_to(depth[:, None] if axis == 0 else depth, path.shape)
    np.testing.assert_allclose(path, expected, atol=tolerance)


def test_two_layers_add_up():
    density = np.concatenate([np.full((4, 9), 0.25), np.full((6, 9), 1.75)])
    path = path_of(density, (3.0, 3.0))
    np.testing.assert_allclose(path[3], 3.5 * 3 * 0.25)
    np.testing.assert_allclose(path[4], 4 * 3 * 0.25 + 0.5 * 3 * 1.75)
    np.testing.assert_allclose(path[-1], 4 * 3 * 0.25 + 5.5 * 3 * 1.75)


@ANGLES
def test_behind_a_disc_stands_the_chord(angle):
    spacing, radius, centre = 1.0, 30.0, (4.0, -3.0)
    density = disc(121, spacing, radius, centre)
    path = path_of(density, (spacing, spacing), angle)
    x, y = np.meshgrid(*[(np.arange(121) - 60) * spacing] * 2, indexing="ij")
    x, y, turn = x - centre[0], y - centre[1], math.radians(angle)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    behind = (along > radius + 3) & (np.abs(across) < 0.9 * radius)
    chord = 2 * np.sqrt(radius**2 - across[behind] ** 2)
    np.testing.assert_allclose(path[behind], chord, atol=0.35)  # a third of a pixel
    inside = np.hypot(x, y) < 0.8 * radius
    to_skin = along[inside] + np.sqrt(radius**2 - across[inside] ** 2)
    np.testing.assert_allclose(path[inside], to_skin, atol=0.35)
    assert np.abs(path[along < -radius - 3]).max() == 0  # nothing yet


def test_pixels_need_not_be_square():
    fine = disc(120, 1.0, 40)
    coarse = fine.reshape(120, 60, 2).mean(axis=2)  # pixels of 1 x 2 mm
    for angle in (0.0, 35.0, 90.0):
        one, two = (
            path_of(density, spacing, angle)[50:70, middle].mean()
            for density, spacing, middle in ((fine, (1, 1), slice(50, 70)), (coarse, (1, 2), slice(25, 35)))
        )
        assert one == pytest.approx(two, abs=0.2)
        assert one == pytest.approx(40, abs=1)  # the middle of the disc is one radius deep


def test_turning_slice_and_beam_together_changes_nothing():
    density = np.random.default_rng(0).uniform(0, 2, (24, 24))
    path = path_of(density, (2, 2), 20.0)
    # np.rot90 carries +axis 0 to +axis 1, as 90 degrees do.
    turned = path_of(np.rot90(density), (2, 2), 110.0)
    np.testing.assert_allclose(np.rot90(path), turned, atol=1e-9)
    assert np.abs(path - path_of(density, (2, 2), 110.0)).max() > 1


def test_a_volume_is_its_slices():
    density = np.random.default_rng(1).uniform(0, 2, (12, 10, 3))
    # A volume whose target lies in one slice alone.
    ct = np.where(density > 1, 0.0, 300.0)
    mask, target = np.ones(ct.shape, bool), np.zeros(ct.shape, bool)
    target[5:8, 4:7, 1] = True
    one = mask[..., 1], target[..., 1], (2, 1)
    given = dose.photon_dose(ct, mask, target, (2, 1, 5))
    np.testing.assert_array_equal(given[..., 1], dose.photon_dose(ct[..., 1], *one))
    assert not given[..., [0, 2]].any()
    sct = ct + 50
    assert dose.range_error(ct, sct, mask, target, (2, 1, 5)) == dose.range_error(ct[..., 1], sct[..., 1], *one)


# The two questions, by hand


def box() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box of water, 40 x 30 pixels of 2 mm in air, a target of 6 x 8 pixels 10 pixels under the first face."""
    ct, target = np.full((50, 40), -1000.0), np.zeros((50, 40), bool)
    ct[5:45, 5:35] = 0
    target[15:21, 16:24] = True
    return ct, ct > -500, target


@pytest.mark.parametrize(("angle", "thickness"), [(0, 3), (180, 0), (90, 0)])
def test_a_slab_of_bone_in_front_counts_with_its_stopping_power(angle, thickness):
    ct, mask, target = box()
    sct = ct.copy()
    sct[8:11] = np.where(mask[8:11], 1525, sct[8:11])  # 3 pixels, between the first face and the target
    found = dose.range_error(ct, sct, mask, target, (2, 2), [angle])
    expected = thickness * 2 * (dose.TISSUES["cortical bone"].relative_stopping_power - 1)
    assert found["range_mean_mm"] == pytest.approx(expected, abs=1e-9)  # behind or beside the target: no error
    turned_round = dose.range_error(sct, ct, mask, target, (2, 2), [angle])
    assert turned_round["range_mean_mm"] == pytest.approx(-expected, abs=1e-9)
    assert turned_round["range_absolute_mm"] == pytest.approx(expected, abs=1e-9)


def test_an_error_behind_the_target_does_not_count_and_one_in_it_does():
    ct, mask, target = box()
    behind, within = ct.copy(), ct.copy()
    behind[25:40, 5:35] = 1525
    within[20, 5:35] = 1525  # the last row of the target: its far edge lies half in, the ramp to water beyond
    assert dose.range_error(ct, behind, mask, target, (2, 2), [0])["range_worst_mm"] == 0
    assert 1 < dose.range_error(ct, within, mask, target, (2, 2), [0])["range_worst_mm"] < 1.4


def test_mean_and_worst_over_rays_and_angles():
    ct, mask, target = box()
    sct = ct.copy()
    sct[8:11, 20:35] = 1525  # covers half the target as seen at 0 degrees, nothing of it at 90
    whole = 6 * (dose.TISSUES["cortical bone"].relative_stopping_power - 1)
    front = dose.range_error(ct, sct, mask, target, (2, 2), [0])
    assert front["range_worst_mm"] == pytest.approx(whole)
    assert front["range_mean_mm"] == pytest.approx(whole / 2)
    both = dose.range_error(ct, sct, mask, target, (2, 2), [0, 90])
    assert 0 < both["range_mean_mm"] < front["range_mean_mm"]
    assert both["range_worst_mm"] == pytest.approx(whole)


def test_dose_falls_exponentially_with_the_depth():
    ct, mask, target = box()
    given = dose.photon_dose(ct, mask, target, (2, 2), [0])
    depth = (np.arange(40) + 0.5) * 2
    in_air = 5 * 2 * float(dose.relative_electron_density(-1000))
    np.testing.assert_allclose(given[5:45, 20], np.exp(-dose.ATTENUATION * (depth + in_air)), rtol=1e-3)
    assert not given[:5].any() and not given[:, :14].any() and not given[:, 26:].any()  # outside body and beam
    # The attenuation is that of a beam in use: of what is there at 50 mm, 0.7 to 0.85 is left 50 mm deeper.
    assert 0.7 < given[30, 20] / given[5, 20] < 0.85


def test_opposed_beams_are_the_mean_of_two_and_even_out():
    ct, mask, target = box()
    one, other, both = (dose.photon_dose(ct, mask, target, (2, 2), angles) for angles in ([0], [180], [0, 180]))
    np.testing.assert_allclose(both, (one + other) / 2)
    assert np.ptp(both[5:45, 20]) < 0.2 * np.ptp(one[5:45, 20])


def test_the_difference_of_dose_by_hand():
    ct, mask, target = box()
    sct = ct.copy()
    sct[8:11, 5:35] = 1525
    difference = dose.dose_difference(ct, sct, mask, target, (2, 2), [0])
    weaker = math.exp(-dose.ATTENUATION * 6 * (dose.TISSUES["cortical bone"].relative_electron_density - 1))
    assert difference[target].mean() == pytest.approx(100 * (weaker - 1), rel=1e-3)  # -2.3%
    assert not difference[:8].any()  # in front of the slab all is as it was
    assert not dose.dose_difference(ct, ct, mask, target, (2, 2)).any()


def test_outside_the_mask_nothing_counts():
    ct, mask, target = box()
    sct = np.where(mask, ct + 100, ct)
    couch = [np.where(mask, image, junk) for image, junk in ((ct, np.nan), (sct, 1200))]
    expected = dose.range_error(ct, sct, mask, target, (2, 2))
    assert expected["range_worst_mm"] > 1
    assert dose.range_error(*couch, mask, target, (2, 2)) == expected
    assert dose_off(*couch, mask, (2, 2)) == dose_off(ct, sct, mask, (2, 2)) > 0


def test_a_perfect_ct_has_no_error():
    ct, mask, target = water_head()
    assert set(dose.range_error(ct, ct, mask, target, (2, 2)).values()) == {0.0}
    assert dose_off(ct, ct, mask, (2, 2)) == 0


def test_the_central_target_is_a_ball_about_the_deepest_point():
    _, mask, _ = water_head()
    target = dose.central_target(mask, (2, 2), 20)
    assert target.sum() * 4 == pytest.approx(math.pi * 20**2, rel=0.03)
    assert np.argwhere(target).mean(axis=0) == pytest.approx([47.5, 47.5], abs=1)
    volume = dose.central_target(np.ones((40, 40, 10)), (2, 2, 8), 20)
    assert volume.sum() * 32 == pytest.approx(4 / 3 * math.pi * 20**3, rel=0.05)
    small = dose.central_target(np.ones((5, 5)), (2, 2), 20)
    assert small.all()  # cut to the body


# Where the MAE is good and the dose is not


def as_noisy(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The CT with noise instead of the errors of `sct`, and the same mean absolute error."""
    sign = np.random.default_rng(2).choice([-1.0, 1.0], ct.shape)
    return ct + sign * np.abs(sct - ct)[mask].mean()


def test_the_same_mae_as_noise_and_as_a_slab_in_the_beam():
    ct, mask, target = water_head()
    cavity = (slice(18, 23), slice(36, 60))  # 10 mm of air, a little wider than the target, where the beam comes in
    ct[cavity] = -1000
    slab = ct.copy()
    slab[cavity] = 700  # air and bone are both dark in MR, so a network may take one for the other
    noisy = as_noisy(ct, slab, mask)
    error = np.abs(slab - ct)[mask].mean()
    assert np.abs(noisy - ct)[mask].mean() == pytest.approx(error) and 20 < error < 40

    ranges = [dose.range_error(ct, sct, mask, target, (2, 2), [0]) for sct in (slab, noisy)]
    assert ranges[0]["range_mean_mm"] == pytest.approx(10 * float(dose.relative_stopping_power(700)), abs=0.02)
    assert ranges[0]["range_absolute_mm"] > 10 * ranges[1]["range_absolute_mm"] > 0
    doses = [dose.dose_difference(ct, sct, mask, target, (2, 2), [0])[target].mean() for sct in (slab, noisy)]
    assert doses[0] < -5 and abs(doses[0]) > 10 * abs(doses[1]) > 0


def test_the_same_mae_behind_the_sinuses_of_a_head():
    patient = draw_patient(0, 1, (96, 96, 24))  # with wide sinuses
    ct, mask = patient.ct(noisy=False), patient.body
    spacing = tuple(field / voxels for field, voxels in zip(FIELD_OF_VIEW_MM, ct.shape, strict=True))
    cavities = ndimage.binary_erosion(mask, iterations=3) & (ct < -400)
    target = np.zeros(ct.shape, bool)
    right, anterior, superior = np.argwhere(cavities).mean(axis=0).astype(int)
    target[right - 5 : right + 6, anterior - 24 : anterior - 13, superior - 1 : superior + 2] = True

    filled = np.where(cavities, 300, ct)
    noisy = as_noisy(ct, filled, mask)
    error = metrics.mae(ct, filled, mask)
    assert metrics.mae(ct, noisy, mask) == pytest.approx(error, rel=1e-4) and error < 20

    from_the_front = {"mask": mask, "target": target, "spacing": spacing, "angles": [270]}
    bone, noise = (dose.range_error(ct, sct, **from_the_front) for sct in (filled, noisy))
    assert bone["range_mean_mm"] > 15 and bone["range_absolute_mm"] > 50 * noise["range_absolute_mm"] > 0
    bone, noise = (dose.dose_difference(ct, sct, **from_the_front)[target].mean() for sct in (filled, noisy))
    assert bone < -5 and abs(bone) > 50 * abs(noise) > 0
    # The same error, and beams that do not cross it.
    elsewhere = dose.range_error(ct, filled, mask, dose.central_target(mask, spacing), spacing)
    assert elsewhere["range_worst_mm"] < 0.5 and dose_off(ct, filled, mask, spacing) < 0.5


# Bad input


def test_bad_input_is_named():
    ct, mask, target = box()
    good = {"ct": ct, "sct": ct, "mask": mask, "target": target, "spacing": (2, 2)}
    nan = np.where(target, np.nan, ct)
    for change, message in (
        ({"sct": ct[1:]}, "shapes differ"),
        ({"target": target * 0}, "the target is empty"),
        ({"target": ~mask}, "outside the mask"),
        ({"mask": mask * 0}, "outside the mask"),
        ({"sct": nan}, "sct holds NaN"),
        ({"spacing": (2,)}, "spacing"),
        ({"spacing": (2, 0)}, "spacing"),
        ({"angles": []}, "at least one direction"),
        ({"angles": [math.nan]}, "at least one direction"),
    ):
        for question in (dose.range_error, dose.dose_difference):
            with pytest.raises(InputError, match=message):
                question(**good | change)
    with pytest.raises(InputError, match="hu holds NaN"):
        dose.photon_dose(nan, mask, target, (2, 2))
    line = np.ones(5)
    with pytest.raises(InputError, match="neither a slice"):
        dose.range_error(line, line, line, line, (1,))
    with pytest.raises(InputError, match="the mask is empty"):
        dose.central_target(mask * 0, (2, 2))
    with pytest.raises(InputError, match="radius"):
        dose.central_target(mask, (2, 2), 0)
