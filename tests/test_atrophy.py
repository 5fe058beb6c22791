"""Atrophy of the phantom: the same person with less brain, and nobody else changed."""

import math

import numpy as np
import pytest
import torch

from mrctlib.phantom.head import draw_patient
from mrctlib.phantom.tissues import BRAIN
from mrctlib.runtime import InputError

SHAPE = (48, 48, 36)
# The sum of each tissue's shares in patient (0, 0) without atrophy: who changes it changes every patient of the course.
BEFORE = {"csf": 3174.6, "grey": 3816.53, "white": 4182.64, "bone": 2269.79, "fat": 4634.38}


@pytest.fixture(scope="module")
def person():
    return {atrophy: draw_patient(0, 0, SHAPE, atrophy=atrophy) for atrophy in (0.0, 0.5, 1.0)}


def millilitres(share, patient):
    return float(share.sum()) * math.prod(patient.space.spacing) / 1000


def test_without_the_keyword_everybody_is_as_before(person):
    plain = draw_patient(0, 0, SHAPE)
    assert all(torch.equal(share, person[0.0].fractions[name]) for name, share in plain.fractions.items())
    np.testing.assert_array_equal(plain.mr(), person[0.0].mr())
    found = {name: float(plain.fractions[name].sum()) for name in BEFORE}
    assert found == pytest.approx(BEFORE, rel=1e-4)


def test_ventricles_and_sulci_grow_with_atrophy_and_brain_is_lost(person):
    ventricles = [millilitres(p.ventricles, p) for p in person.values()]
    sulci = [millilitres(p.fractions["csf"] - p.ventricles, p) for p in person.values()]
    brain = [millilitres(p.fractions["grey"] + p.fractions["white"], p) for p in person.values()]
    assert ventricles == sorted(ventricles) and 1.8 < ventricles[2] / ventricles[0] < 3.5
    assert sulci == sorted(sulci) and sulci[2] > 1.1 * sulci[0]
    assert brain == sorted(brain, reverse=True) and brain[2] < 0.95 * brain[0]


def test_all_but_the_brain_stays_the_same(person):
    well, ill = person[0.0], person[1.0]
    np.testing.assert_array_equal(well.body, ill.body)
    for name in set(well.fractions) - set(BRAIN):  # only shares of voxels that brain and skull have in common may move
        # The wide fourth ventricle reaches the tentorium as well.
        np.testing.assert_allclose(well.fractions[name], ill.fractions[name], atol=0.2 if name == "dura" else 0.1)
    change = np.abs(well.ct() - ill.ct())
    head = ill.body & (sum(well.fractions[name] for name in BRAIN).numpy() == 0)
    np.testing.assert_array_equal(change[:2], 0)  # the noise is the same, too
    assert change[head].mean() < 0.5


def test_it_is_the_same_person_and_no_other(person):
    other = draw_patient(0, 1, SHAPE).mr()
    well, ill = person[0.0].mr(), person[1.0].mr()
    assert np.abs(well - ill).mean() < 0.5 * np.abs(well - other).mean()


@pytest.mark.parametrize("atrophy", [-0.1, 1.5, float("nan")])
def test_atrophy_out_of_range_is_one_line(atrophy):
    with pytest.raises(InputError, match="from 0 .healthy. to 1"):
        draw_patient(0, 0, SHAPE, atrophy=atrophy)
