"""What is said of a synthetic CT beside the metrics, on volumes whose answers are known."""

import numpy as np
import pytest

from mrctlib.course.synthetic import by_tissue, shine_through


def test_errors_by_tissue_go_by_the_true_ct_and_say_nan_where_there_is_none():
    ct = np.array([-1000.0, -300, 0, 300, 900, 1200]).reshape(6, 1, 1)
    sct = ct + np.array([500.0, 10, -20, 30, -400, 100]).reshape(6, 1, 1)
    body = np.array([1, 1, 1, 1, 1, 0], bool).reshape(6, 1, 1)
    assert by_tissue(ct, sct, body) == {"mae_air_hu": 500, "mae_soft_tissue_hu": 20, "mae_bone_hu": 400}
    body[0] = False
    found = by_tissue(ct, sct, body)
    assert np.isnan(found["mae_air_hu"]) and found["mae_bone_hu"] == 400


def test_what_shines_through_is_what_follows_the_mr_in_the_brain():
    body = np.ones((40, 40, 40), bool)
    body[[0, -1]] = body[:, [0, -1]] = body[:, :, [0, -1]] = False
    mr = np.random.default_rng(0).normal(500, 50, body.shape)
    ct = np.full(body.shape, 30.0)
    ct[20, 20] = 900  # bone counts for nothing
    copy = 30 + 0.4 * (mr - 500)
    assert shine_through(mr, ct, ct, body, (2, 2, 2)) == pytest.approx(0, abs=1e-9)
    assert shine_through(mr, copy, ct, body, (2, 2, 2)) == pytest.approx(20, rel=0.05)
    assert shine_through(mr, -copy, ct, body, (2, 2, 2)) == pytest.approx(-20, rel=0.05)
    assert np.isnan(shine_through(mr, copy, np.full_like(ct, 900), body, (2, 2, 2))), "no brain"
