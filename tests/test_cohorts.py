"""Cohorts: finding cases, splitting patients, slices and the way to and from a window."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mrctlib.data.cohorts import Case, find_cases, split_cases, unpaired_halves
from mrctlib.data.slices import slice_set
from mrctlib.data.volumes import Volume, write_volume
from mrctlib.runtime import InputError


def test_cases_are_found_by_name_and_a_single_one_counts(cohort, cases):
    assert [case.name for case in cases] == sorted(case.name for case in cases) and len(cases) == 6
    assert find_cases(cases[0].folder) == [cases[0]]


@pytest.mark.parametrize("make", [lambda p: p / "missing", lambda p: p])
def test_no_cases_is_said(tmp_path, make):
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        find_cases(make(tmp_path))


def test_cases_are_found_levels_down_and_two_of_one_name_are_not_mixed(cases, tmp_path):
    for region in ("brain", "pelvis"):
        case = tmp_path / "data" / "Task1" / region / f"1{region[0].upper()}A001"
        case.mkdir(parents=True)
        shutil.copy(cases[0].path("mr"), case)
        (case.parent / "overview").mkdir()
        for name in (f"{case.name}_train.png", "1_brain_train.xlsx"):
            (case.parent / "overview" / name).write_bytes(b"not an image of a patient")
    for start in ("data", "data/Task1"):
        assert [case.name for case in find_cases(tmp_path / start)] == ["1BA001", "1PA001"]
    for start in ("data/Task1/pelvis", "data/Task1/pelvis/1PA001"):
        assert [case.name for case in find_cases(tmp_path / start)] == ["1PA001"]
    (case.parent / case.name).rename(case.parent / "1BA001")
    with pytest.raises(InputError, match="2 cases are called 1BA001"):
        find_cases(tmp_path / "data")


@pytest.mark.parametrize("name", ["mr.mhd", "mr.nrrd", "1.dcm"])
def test_cases_in_another_format_are_named(tmp_path, name):
    (tmp_path / "cohort" / "case").mkdir(parents=True)
    (tmp_path / "cohort" / "case" / name).write_bytes(b"something")
    with pytest.raises(InputError, match=f"cohort: no cases in it.* {name} is .*, not NIfTI; convert it"):
        find_cases(tmp_path / "cohort")
    with pytest.raises(InputError, match=f"has no mr.nii.gz; {name} is .*, not NIfTI"):
        Case(tmp_path / "cohort" / "case").volume("mr")


def test_a_case_of_synthrad2025_is_the_same_as_in_nifti(cases, tmp_path):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed, and only it reads .mha")
    case = tmp_path / "Task1" / "AB" / "1ABA005"
    case.mkdir(parents=True)
    for kind in ("mr", "ct", "mask"):
        itk.WriteImage(itk.ReadImage(str(cases[0].path(kind))), str(case / f"{kind}.mha"), True)
    (found,) = find_cases(tmp_path)
    assert found.name == "1ABA005"
    for new, old in zip(found.pair()[:2], cases[0].pair()[:2], strict=True):
        np.testing.assert_array_equal(new.data, old.data)
        np.testing.assert_allclose(new.affine, old.affine, atol=1e-5)
    np.testing.assert_array_equal(found.pair()[2], cases[0].pair()[2])


def test_a_folder_that_may_not_be_read_is_left_out_and_said(cohort, tmp_path, monkeypatch, capsys):
    shutil.copytree(cohort, tmp_path / "cohort")
    (tmp_path / "cohort" / "lost+found").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "lost" not in str(path) and allowed(path, mode))
    assert len(find_cases(tmp_path / "cohort")) == 6
    assert "lost+found: permission denied; it is left out" in capsys.readouterr().err


def test_a_case_is_called_as_its_folder_also_from_inside(cases, monkeypatch):
    monkeypatch.chdir(cases[0].folder)
    assert Case(Path(".")).name == cases[0].name


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


def test_a_mask_is_found_where_none_is_given(cases, tmp_path):
    case = Case(tmp_path / "no_mask")
    mr, _, given = cases[0].pair()
    write_volume(mr, case.folder / "mr.nii.gz")
    found = case.body(mr, "mr")
    assert 2 * (found & given).sum() / (found.sum() + given.sum()) > 0.85


@pytest.mark.parametrize(
    "kind", ["empty mask", "other grid", "constant MR", "no CT", "CT + 1024", "CT + 1024, no mask"]
)
@pytest.mark.parametrize("read", ["pair", "slices"])
def test_bad_cases_name_the_file(cases, tmp_path, kind, read):
    mr, ct, body = cases[0].pair()
    folder = tmp_path / "bad"
    mask = mr.like(body)
    if kind == "empty mask":
        mask = mr.like(np.zeros_like(body))
    if kind == "constant MR":
        mr = mr.like(np.ones_like(mr.data))
    if kind == "other grid":
        ct = Volume(ct.data[1:], ct.affine)
    if "1024" in kind:
        ct = ct.like((ct.data + 1024).clip(0))
    for name, volume in {"mr": mr, "ct": ct, "mask": mask}.items():
        if not (kind == "no CT" and name == "ct") and not ("no mask" in kind and name == "mask"):
            write_volume(volume, folder / f"{name}.nii.gz")
    with pytest.raises(InputError, match="bad") as error:
        if read == "pair":
            Case(folder).pair()
        else:
            slice_set([Case(folder)], "mr" if kind in ("empty mask", "constant MR") else "ct", 6.4, 32)
    assert "\n" not in str(error.value)
