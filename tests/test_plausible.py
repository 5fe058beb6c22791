"""Is an MR like those of the training: what must be flagged, and what must not."""

import json

import numpy as np
import pytest

from mrctlib.data.plausible import describe, typical, unlike
from mrctlib.data.volumes import Volume, body_mask
from mrctlib.phantom.head import draw_patient

SHAPE = (80, 80, 48)


@pytest.fixture(scope="module")
def people():
    return [draw_patient(7, case, SHAPE) for case in range(48)]


@pytest.fixture(scope="module")
def trained(people):
    """As it comes back from a file: of the first eight T1w patients."""
    descriptions = [describe(Volume(p.mr(), p.space.affine), p.body) for p in people[:8]]
    return json.loads(json.dumps(typical(descriptions)))


def test_other_patients_are_not_flagged(people, trained):
    for person in people[8:]:
        assert unlike(describe(Volume(person.mr(), person.space.affine), person.body), trained) == []


def test_neither_is_one_in_other_voxels_or_with_a_mask_that_was_found(trained):
    for shape in ((48, 48, 36), (128, 128, 96)):
        person = draw_patient(7, 50, shape)
        mr = Volume(person.mr(), person.space.affine)
        for body in (person.body, body_mask(mr, "mr")):
            assert unlike(describe(mr, body), trained) == []


@pytest.mark.parametrize("kind", ["ct", "t2w"])
def test_another_contrast_is_flagged(people, trained, kind):
    for person in people[8:20]:
        image = person.ct() if kind == "ct" else person.mr(kind)
        lines = unlike(describe(Volume(image, person.space.affine), person.body), trained)
        assert any("unlike what this run was trained on (distance 0." in line for line in lines)
        assert not any("\n" in line for line in lines)
        assert kind != "ct" or any("no dark ring" in line for line in lines)


@pytest.mark.parametrize("whole", [True, False], ids=["head mask", "own mask"])
def test_a_brain_without_its_skull_is_flagged(people, trained, whole):
    for person in people[8:14]:
        mr = Volume(np.where(person.labels() > 0, person.mr(), 0), person.space.affine)
        lines = unlike(describe(mr, person.body if whole else body_mask(mr, "mr")), trained)
        assert any("no dark ring (skull)" in line for line in lines)


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_a_much_smaller_or_larger_body_is_flagged(people, trained, factor):
    person = people[9]
    mr = Volume(person.mr(), person.space.affine @ np.diag([factor, factor, factor, 1]))
    assert any(
        "its body measures" in line and "8 training patients" in line
        for line in unlike(describe(mr, person.body), trained)
    )


def test_a_leg_is_flagged(trained):
    x, y, _ = np.meshgrid(*(np.arange(-120, 120, 3.0) for _ in range(3)), indexing="ij")
    r = np.hypot(x, y)
    leg = np.select([r < 11, r < 17, r < 65, r < 78], [700, 50, 400, 900], 0) + np.random.default_rng(0).normal(
        0, 10, r.shape
    )
    lines = unlike(describe(Volume(np.abs(leg), np.diag([3, 3, 3, 1])), r < 78), trained)
    assert len(lines) >= 2


def test_three_slices_and_a_body_that_fills_the_picture_can_be_described(people):
    person = people[0]
    mr = Volume(person.mr()[:, :, 30:33], person.space.affine)
    assert describe(mr, person.body[:, :, 30:33])["spacing_mm"] == pytest.approx([3.2, 3.2, 4])
    small = np.s_[32:48, 32:48, 20:30]
    described = describe(Volume(person.mr()[small], person.space.affine), np.ones((16, 16, 10), bool))
    assert np.isfinite([value for values in described.values() for value in values]).all()
