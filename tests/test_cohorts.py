"""Cohorts: finding cases, splitting patients, slices and the way to and from a window."""

import numpy as np
import pytest
import torch

from mrctlib.data import cohorts
from mrctlib.data.cohorts import Case, find_cases, slice_set, split_cases, unpaired_batch, unpaired_halves
from mrctlib.data.volumes import Volume, write_volume
from mrctlib.runtime import InputError


def test_cases_are_found_by_name_and_a_single_one_counts(cohort, cases):
    assert [case.name for case in cases] == sorted(case.name for case in cases) and len(cases) == 6
    assert find_cases(cases[0].folder) == [cases[0]]


@pytest.mark.parametrize("make", [lambda p: p / "missing", lambda p: p])
def test_no_cases_is_said(tmp_path, make):
    with pytest.raises(InputError, match=str(tmp_path)):
        find_cases(make(tmp_path))


def test_patients_are_split_not_slices(cases):
    train, test = split_cases(cases, (2, 1), seed=1)
    assert len(train) == 4 and len(test) == 2 and not set(train) & set(test)
    assert split_cases(cases, (2, 1), seed=1) == [train, test]
    assert any(split_cases(cases, (2, 1), seed=s) != [train, test] for s in range(2, 6))


def test_no_patient_gives_both_images(cases, tmp_path):
    for_mr, for_ct = unpaired_halves(cases, seed=0)
    assert len(for_mr) == len(for_ct) == 3 and not set(for_mr) & set(for_ct)
    assert unpaired_halves(cases[:1]) == (cases[:1], cases[:1])


def test_cases_with_one_image_are_used_for_it(cases, tmp_path):
    only_ct = Case(tmp_path / "x")
    write_volume(cases[0].volume("ct"), only_ct.folder / "ct.nii.gz")
    for_mr, for_ct = unpaired_halves([*cases[:3], only_ct], seed=0)
    assert only_ct in for_ct and only_ct not in for_mr and len(for_mr) == 2


def test_slices_are_normalised_centred_and_not_empty(cases):
    slices = slice_set(cases[:2], "ct", spacing=6.4, size=32)
    assert slices.images.shape == slices.depths.shape == (len(slices), 1, 32, 32)
    assert slices.images.min() >= -1 and slices.images.max() <= 1
    assert (slices.images[~slices.masks] == -1).all()
    assert set(slices.patients.tolist()) == {0, 1}
    assert slices.heights.min() >= 0 and slices.heights.max() <= 1
    # Slices next to a window's edge lose body; whole slices keep at least the share asked for.
    assert slices.masks.flatten(1).float().mean(1).min() > 0.04


def test_depth_is_the_distance_to_the_surface():
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 2:7, 2:7] = True
    depth = cohorts.depth_below_surface(mask, spacing=2.0)[0, 0]
    assert depth[4, 4] == 6 and depth[2, 4] == 2 and depth[0, 0] == 0


@pytest.mark.parametrize("size", [8, 21, 40])
@pytest.mark.parametrize("middle", [(3, 3), (10, 12), (19, 2)])
def test_cut_and_paste_are_inverse_where_the_window_saw(size, middle):
    stack = torch.randn(2, 1, 20, 24)
    window = cohorts.cut_about(stack, middle, size, fill=-9)
    assert window.shape == (2, 1, size, size)
    assert (window[..., size // 2, size // 2] == stack[..., middle[0], middle[1]]).all()
    back = cohorts.paste_about(window, middle, stack.shape[-2:], fill=-9)
    assert back.shape == stack.shape and torch.equal(back[back != -9], stack[back != -9])
    if size == 40:
        assert (back != -9).float().mean() > 0.5


def test_batches_match_heights_and_repeat_with_the_seed(cases):
    mr, ct = (slice_set(cases, kind, 6.4, 32) for kind in ("mr", "ct"))
    i, j = unpaired_batch(mr, ct, 8, torch.Generator().manual_seed(0))
    again = unpaired_batch(mr, ct, 8, torch.Generator().manual_seed(0))
    assert torch.equal(i, again[0]) and torch.equal(j, again[1]) and len(set(i.tolist())) == 8
    assert (mr.heights[i] - ct.heights[j]).abs().max() < 0.06
    _, loose = unpaired_batch(mr, ct, 8, torch.Generator().manual_seed(0), matched=False)
    assert (mr.heights[i] - ct.heights[loose]).abs().max() > 0.06


def test_fewer_slices_than_a_batch(cases):
    mr = slice_set(cases[:1], "mr", 6.4, 32)
    with pytest.raises(InputError, match="fewer than a batch"):
        unpaired_batch(mr, mr, 1000, torch.Generator())


def test_the_typical_body_is_the_mean_of_its_cells(cases):
    slices = slice_set(cases, "ct", 6.4, 32)
    drawn = cohorts.draw_typical(cohorts.typical_body(slices), slices.heights, slices.depths)
    assert (drawn[~slices.masks] == -1).all()
    assert float((drawn - slices.images)[slices.masks].mean().abs()) < 1e-3
    spread, left = slices.images[slices.masks].std(), (drawn - slices.images)[slices.masks].std()
    assert left < 0.9 * spread


def test_a_mask_is_found_where_none_is_given(cases, tmp_path):
    case = Case(tmp_path / "no_mask")
    mr, _, given = cases[0].pair()
    write_volume(mr, case.folder / "mr.nii.gz")
    found = case.body(mr, "mr")
    assert 2 * (found & given).sum() / (found.sum() + given.sum()) > 0.85


@pytest.mark.parametrize("kind", ["empty mask", "other grid", "constant MR", "no CT"])
def test_bad_cases_name_the_file(cases, tmp_path, kind):
    mr, ct, body = cases[0].pair()
    folder = tmp_path / "bad"
    mask = mr.like(body)
    if kind == "empty mask":
        mask = mr.like(np.zeros_like(body))
    if kind == "constant MR":
        mr = mr.like(np.ones_like(mr.data))
    if kind == "other grid":
        ct = Volume(ct.data[1:], ct.affine)
    for name, volume in {"mr": mr, "ct": ct, "mask": mask}.items():
        if not (kind == "no CT" and name == "ct"):
            write_volume(volume, folder / f"{name}.nii.gz")
    with pytest.raises(InputError, match="bad") as error:
        Case(folder).pair()
        slice_set([Case(folder)], "mr", 6.4, 32)
    assert "\n" not in str(error.value)
