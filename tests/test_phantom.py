"""The phantom: plausible heads, the same on every grid, seen by scanners whose noise is known."""

import json
import math
import time

import numpy as np
import pytest

from mrctlib.data.cohorts import find_cases
from mrctlib.data.volumes import read_volume
from mrctlib.phantom import head
from mrctlib.phantom.imaging import noise_floor_hu
from mrctlib.phantom.tissues import BRAIN, LESIONS, TISSUES, Tissue, spin_echo
from mrctlib.runtime import InputError

SHAPE = (64, 64, 48)


@pytest.fixture(scope="module")
def patient():
    return head.draw_patient(0, 0, SHAPE)


def test_fractions_fill_every_voxel(patient):
    total = sum(patient.fractions.values())
    assert float((total - 1).abs().max()) < 1e-5
    assert all(float(f.min()) >= 0 for f in patient.fractions.values())
    assert set(patient.fractions) >= set(TISSUES) - set(LESIONS)


def test_same_case_is_the_same_person_and_another_is_not(patient):
    again, other = head.draw_patient(0, 0, SHAPE), head.draw_patient(0, 1, SHAPE)
    np.testing.assert_array_equal(patient.ct(), again.ct())
    np.testing.assert_array_equal(patient.mr(), again.mr())
    assert np.abs(patient.ct() - other.ct()).mean() > 20


def test_a_finer_grid_shows_the_same_person(patient):
    fine = head.draw_patient(0, 0, tuple(2 * n for n in SHAPE))
    mean = fine.ct(noisy=False).reshape(SHAPE[0], 2, SHAPE[1], 2, SHAPE[2], 2).mean((1, 3, 5))
    assert np.corrcoef(mean.ravel(), patient.ct(noisy=False).ravel())[0, 1] > 0.97


def test_volumes_are_those_of_a_head():
    litres = {name: [] for name in ("brain", "head", "bone share")}
    for case in range(4):
        person = head.draw_patient(5, case, SHAPE)
        voxel = float(np.prod(person.space.spacing)) / 1e6
        litres["brain"].append(float(sum(person.fractions[n].sum() for n in BRAIN)) * voxel)
        litres["head"].append(person.body.sum() * voxel)
        litres["bone share"].append(float((person.ct()[person.body] > 300).mean()))
    assert 1.1 < np.mean(litres["brain"]) < 2.0
    assert 2.5 < np.mean(litres["head"]) < 5.5
    assert 0.08 < np.mean(litres["bone share"]) < 0.30


def test_ventricles_are_a_part_of_the_csf_of_a_plausible_size():
    for case in range(4):
        patient = head.draw_patient(1, case, (64, 64, 48))
        assert (patient.ventricles <= patient.fractions["csf"] + 1e-6).all()
        assert 8 < float(patient.ventricles.sum()) * math.prod(patient.space.spacing) / 1000 < 91


def test_contrasts_follow_the_signal_equations(patient):
    def inside(image, tissue):
        return np.median(image[patient.fractions[tissue].numpy() > 0.95])

    t1w, t2w = patient.mr("t1w"), patient.mr("t2w")
    assert inside(t1w, "white") > inside(t1w, "csf")
    assert inside(t2w, "csf") > inside(t2w, "white")
    in_phase, out_of_phase = patient.mr("dixon_in"), patient.mr("dixon_out")
    water, fat = patient.mr("dixon_water"), patient.mr("dixon_fat")
    assert inside(fat, "fat") > 5 * inside(water, "fat") > 0
    np.testing.assert_allclose(inside(in_phase, "white"), inside(water, "white"), rtol=0.1)
    assert (patient.fractions["fat"] > 0.3).any() and out_of_phase.min() >= 0


def test_spin_echo_by_hand():
    tissue = Tissue(pd=0.5, t1=1000, t2=100, fat=0, hu=0)
    assert spin_echo(tissue, tr=1000, te=100) == pytest.approx(0.5 * (1 - np.exp(-1)) * np.exp(-1))


def test_the_noise_floor_is_what_a_perfect_prediction_gets(patient):
    error = np.abs(patient.ct() - patient.ct(noisy=False)).mean()
    assert error == pytest.approx(noise_floor_hu("a"), rel=0.01)


def test_background_noise_is_rayleigh(patient):
    background = patient.mr("t1w")[:8]  # beside the head, away from its blurred edge
    assert not patient.body[:10].any()
    # The ratio of mean to standard deviation of a Rayleigh variable is sqrt(pi / (4 - pi)).
    assert background.mean() / background.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.15)


@pytest.mark.parametrize("lesion", LESIONS)
def test_lesions_lie_in_the_brain_and_show_on_ct(lesion):
    ill, healthy = (head.draw_patient(1, 2, SHAPE, lesion=kind) for kind in (lesion, None))
    assert ill.lesion.any() and not healthy.lesion.any()
    difference = (ill.ct(noisy=False) - healthy.ct(noisy=False))[ill.lesion].mean()
    low, high = {"tumour": (0, 15), "haemorrhage": (20, 60), "stroke": (-30, -3), "calcification": (250, 700)}[lesion]
    assert low < difference < high


def test_another_scanner_changes_the_mr_and_not_the_anatomy(patient):
    a, b = patient.mr("t1w", "a")[patient.body], patient.mr("t1w", "b")[patient.body]
    assert 0.3 < np.corrcoef(a, b)[0, 1] < 0.98


def test_cohort_on_disk(tmp_path):
    folder = head.write_cohort(tmp_path / "c", 2, seed=4, shape=(32, 32, 24), lesion="tumour")
    (first, second) = find_cases(folder)
    mr, ct, body = first.pair()
    assert mr.data.shape == (32, 32, 24) and mr.spacing == pytest.approx((8, 8, 8))
    np.testing.assert_allclose(mr.affine @ [15.5, 15.5, 11.5, 1], [0, 0, 0, 1], atol=1e-5)
    assert read_volume(second.path("lesion")).data.any() and body.any() and ct.data.max() > 300
    about = json.loads((folder / head.MANIFEST).read_text())
    assert about["data"] == "phantom" and about["noise_floor_hu"] == pytest.approx(noise_floor_hu())


def test_nothing_of_somebody_elses_is_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="mine"):
        head.write_cohort(tmp_path / "mine", 1, shape=(32, 32, 24))
    with pytest.raises(InputError, match="no phantom cohort"):
        head.write_cohort(tmp_path / "mine", 1, shape=(32, 32, 24), force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "call",
    [
        lambda: head.draw_patient(0, 0, (8, 8, 8)),
        lambda: head.draw_patient(0, 0, SHAPE, lesion="ghost"),
        lambda: noise_floor_hu("z"),
        lambda: head.draw_patient(0, 0, (32, 32, 24)).mr("t3w"),
        lambda: head.write_cohort("nowhere", 0),
    ],
)
def test_bad_arguments_are_one_line(call):
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_case_at_two_millimetres_takes_about_two_seconds():
    seconds = []
    for case in range(3):
        started = time.process_time()
        person = head.draw_patient(9, case)
        person.mr(), person.ct()
        seconds.append(time.process_time() - started)
    assert np.median(seconds) < 4, f"{np.median(seconds):.1f} s of CPU time; the aim is 2 s"


def test_a_run_in_a_cohort_is_not_lost_when_the_cohort_is_written_again(tmp_path):
    folder = head.write_cohort(tmp_path / "patients", 1, shape=(24, 24, 16))
    (folder / "run").mkdir()
    (folder / "run" / "checkpoint.safetensors").write_bytes(b"hours of work")
    with pytest.raises(InputError, match="it holds run"):
        head.write_cohort(folder, 1, shape=(24, 24, 16), force=True)
    assert (folder / "run" / "checkpoint.safetensors").read_bytes() == b"hours of work"
