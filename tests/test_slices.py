"""Slices: cut, kept small on disk, batches of them, the way to and from a window, and the typical body."""

import itertools
import os
import re
import shutil

import numpy as np
import pytest
import torch

from mrctlib.data import slices
from mrctlib.data.cohorts import find_cases
from mrctlib.data.slices import SliceSet, slice_set, unpaired_batch
from mrctlib.data.volumes import write_volume
from mrctlib.runtime import InputError


def test_slices_are_normalised_centred_and_not_empty(cases):
    mine = slice_set(cases[:2], "ct", spacing=6.4, size=32)
    assert mine.images.shape == mine.depths.shape == (len(mine), 1, 32, 32)
    assert mine.images.min() >= -1 and mine.images.max() <= 1
    assert (mine.images[~mine.masks] == -1).all()
    assert mine.heights.min() >= 0 and mine.heights.max() <= 1
    # Slices next to a window's edge lose body; whole slices keep at least the share asked for.
    assert mine.masks.flatten(1).float().mean(1).min() > 0.04


def test_depth_is_the_distance_to_the_surface():
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 2:7, 2:7] = True
    depth = slices.depth_below_surface(mask, spacing=2.0)[0, 0]
    assert depth[4, 4] == 6 and depth[2, 4] == 2 and depth[0, 0] == 0
    full = slices.depth_below_surface(torch.ones(1, 1, 9, 9, dtype=torch.bool), spacing=2.0)[0, 0]
    assert full[4, 4] == 10 and full[0, 4] == 2


def test_no_body_in_the_slices_is_said():
    with pytest.raises(InputError, match="the body covers no pixel"):
        slices.body_window(torch.zeros(2, 1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("size", [8, 21, 40])
@pytest.mark.parametrize("middle", [(3, 3), (10, 12), (19, 2)])
def test_cut_and_paste_are_inverse_where_the_window_saw(size, middle):
    stack = torch.randn(2, 1, 20, 24)
    window = slices.cut_about(stack, middle, size, fill=-9)
    assert window.shape == (2, 1, size, size)
    assert (window[..., size // 2, size // 2] == stack[..., middle[0], middle[1]]).all()
    back = slices.paste_about(window, middle, stack.shape[-2:], fill=-9)
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
    mine = slice_set(cases, "ct", 6.4, 32)
    drawn = slices.draw_typical(slices.typical_body(mine), mine.heights, mine.depths)
    assert (drawn[~mine.masks] == -1).all()
    assert float((drawn - mine.images)[mine.masks].mean().abs()) < 1e-3
    spread, left = mine.images[mine.masks].std(), (drawn - mine.images)[mine.masks].std()
    assert left < 0.9 * spread


def test_the_typical_body_is_summed_a_few_slices_at_a_time(cases):
    mine = slice_set(cases, "mr", 6.4, 32)
    assert len(mine) > 64
    bins, all_cells = slices.HEIGHT_BINS, slices.CELLS
    index = (slices.height_bins(mine.heights) * all_cells + slices.cells(mine.depths))[mine.masks]
    total = torch.bincount(index, mine.images[mine.masks].double(), minlength=bins * all_cells)
    count = torch.bincount(index, minlength=bins * all_cells)
    table = slices.typical_body(mine).flatten()
    assert float((table - total / count)[count > 0].abs().max()) < 1e-4


# ---- as they are stored


def test_three_bytes_a_pixel_keep_the_picture_and_the_body():
    images, depths = torch.rand(5, 1, 16, 16) * 2 - 1, torch.rand(5, 1, 16, 16) * 90 - 20
    images[0, 0, 0, 0], depths = -1.0, depths.clamp(min=0)
    depths[0, 0, 0, 1], depths[0, 0, 0, 2] = 0.1, 300.0
    mine = SliceSet.of(images, depths, torch.rand(5))
    assert mine.stored_images.nbytes + mine.stored_depths.nbytes == 3 * images.numel()
    assert mine.images[0, 0, 0, 0] == -1 and float((mine.images - images).abs().max()) * 1250 < 0.02, "HU"
    assert torch.equal(mine.masks, depths > 0), "a pixel of the body stays one"
    assert float((mine.depths - depths).abs()[depths < 102].max()) <= 0.4 and mine.depths.max() == 102
    layers = 3.2 * torch.arange(25.0).reshape(25, 1, 1, 1)
    whole = SliceSet.of(torch.zeros(25, 1, 1, 1), layers, torch.zeros(25))
    assert (slices.cells(whole.depths) % 25).flatten().tolist() == list(range(25)), "whole layers stay in theirs"


@pytest.fixture
def kept(cases, tmp_path):
    """Three patients of one's own, and how their slices are made with a cache."""
    for case in cases[:3]:
        shutil.copytree(case.folder, tmp_path / "cohort" / case.name)
    return lambda: slice_set(find_cases(tmp_path / "cohort"), "mr", 6.4, 32, cache=tmp_path / "run" / "mr")


def same(one, other):
    tensors = ("stored_images", "stored_depths", "heights", "tally")
    return one.about == other.about and all(torch.equal(getattr(one, n), getattr(other, n)) for n in tensors)


def test_slices_are_cut_once_and_come_mapped_from_the_cache(kept, tmp_path, monkeypatch):
    plain = slice_set(find_cases(tmp_path / "cohort"), "mr", 6.4, 32)
    assert same(kept(), plain)
    monkeypatch.setattr(slices, "_cut", None)  # whoever cuts now fails
    again = kept()
    assert same(again, plain) and len(again.mapped) == 2
    index = torch.tensor([7, 3])
    taken = again.take(index, torch.device("cpu"))
    assert torch.equal(taken.images, plain.images[index]) and torch.equal(taken.depths, plain.depths[index])
    assert torch.equal(taken.heights, plain.heights[index])


@pytest.mark.parametrize("what", ["content", "a new patient", "one fewer", "another mask", "damage"])
def test_slices_are_cut_again_where_a_source_changed(kept, tmp_path, what, cases):
    before = kept()
    first = tmp_path / "cohort" / cases[0].name
    if what == "content":
        shutil.copy(cases[4].path("mr"), first / "mr.nii.gz")
    elif what == "a new patient":
        shutil.copytree(cases[5].folder, tmp_path / "cohort" / "z")
    elif what == "one fewer":
        shutil.rmtree(first)
    elif what == "another mask":
        shutil.copy(cases[4].path("mask"), first / "mask.nii.gz")
    else:
        (tmp_path / "run" / "mr" / "index.json").write_text("{")
    after = kept()
    assert same(after, slice_set(find_cases(tmp_path / "cohort"), "mr", 6.4, 32))
    assert same(after, before) == (what == "damage")


def test_a_copy_of_the_same_files_is_no_change(kept, tmp_path, monkeypatch):
    before = kept()
    for path in (tmp_path / "cohort").rglob("*.nii.gz"):
        os.utime(path, (0, 0))
    monkeypatch.setattr(slices, "_cut", None)
    assert same(kept(), before)


def test_a_cutting_that_is_stopped_leaves_nothing(kept, tmp_path, monkeypatch):
    cut, count = slices._cut, itertools.count()

    def third_stops(*arguments):
        if next(count) == 2:
            raise KeyboardInterrupt
        return cut(*arguments)

    monkeypatch.setattr(slices, "_cut", third_stops)
    with pytest.raises(KeyboardInterrupt):
        kept()
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(slices, "_cut", cut)
    assert len(kept()) > 20


def test_a_body_wider_than_the_slices_is_said(cases, capsys):
    slice_set(cases[:2], "ct", 6.4, 32)
    assert "mm across" not in capsys.readouterr().err
    slice_set(cases[:2], "ct", 6.4, 16)
    said = capsys.readouterr().err
    assert re.search(rf"ct: 2 of 2 bodies \({cases[0].name} ...\) are up to \d+ mm across; .*outside the 102 mm", said)


def test_slices_without_body_are_refused(cases, tmp_path):
    ct = cases[0].volume("ct")
    write_volume(ct, tmp_path / "case" / "ct.nii.gz")
    mask = np.zeros(ct.data.shape, np.uint8)
    mask[19:21, 19:21, 12] = 1
    write_volume(ct.like(mask), tmp_path / "case" / "mask.nii.gz")
    with pytest.raises(InputError, match="no slice of CT has 5% body"):
        slice_set(find_cases(tmp_path), "ct", 4.0, 32)
