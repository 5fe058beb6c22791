"""Stained tissue: the files of PCam as torchvision reads them, and drawn patches that keep to the same rule."""

import h5py
import numpy as np
import pytest
import torch

from mrctlib.course import histology
from mrctlib.course.histology import (
    CENTRE,
    PARTS,
    STAINS,
    beer_lambert,
    complete,
    draw_patches,
    load_histology,
    optical_density,
    stain_amounts,
)
from mrctlib.runtime import InputError


@pytest.fixture(scope="module")
def drawn():
    return draw_patches(seed=5, slides=6, per_slide=20)


# PCam


@pytest.fixture
def small_pcam(tmp_path, monkeypatch):
    """A folder laid out as PCam, with 7 + 4 + 5 random patches."""
    rng = np.random.default_rng(0)
    (tmp_path / "pcam").mkdir()
    truth = {}
    for part, count in zip(PARTS, (7, 4, 5), strict=True):
        x = rng.integers(0, 256, (count, 96, 96, 3), np.uint8)
        y = rng.integers(0, 2, (count, 1, 1, 1), np.uint8)
        for what, values in (("x", x), ("y", y)):
            with h5py.File(tmp_path / f"pcam/camelyonpatch_level_2_split_{part}_{what}.h5", "w") as file:
                file[what] = values
        truth[part] = x, y
    monkeypatch.setenv("MRCT_DATA", str(tmp_path))
    return tmp_path / "pcam", truth


def test_pcam_is_read_as_torchvision_reads_it(small_pcam):
    from torchvision.datasets import PCAM
    from torchvision.transforms.functional import pil_to_tensor

    folder, _ = small_pcam
    loaded = load_histology()
    assert loaded.source.startswith("PatchCamelyon") and "7 train, 4 valid, 5 test" in loaded.source
    for part, name in zip(PARTS, ("train", "val", "test"), strict=True):
        mine, theirs = getattr(loaded, part), PCAM(folder.parent, name)
        assert mine.images.dtype == torch.uint8 and mine.classes.dtype == torch.int64
        assert mine.slides is None and mine.tumour is None
        assert len(mine) == len(theirs)
        for at, (image, label) in enumerate(theirs):
            assert torch.equal(mine.images[at], pil_to_tensor(image)) and mine.classes[at] == label


def test_a_limit_takes_random_patches_with_their_own_labels(small_pcam):
    _, truth = small_pcam
    one, again, other = load_histology(3, 0), load_histology(3, 0), load_histology(3, 1)
    assert [len(getattr(one, part)) for part in PARTS] == [3, 3, 3]
    assert torch.equal(one.train.images, again.train.images)
    assert not torch.equal(one.train.images, other.train.images)
    x, y = truth["train"]
    for image, label in zip(one.train.images, one.train.classes, strict=True):
        same = (x == image.permute(1, 2, 0).numpy()).all((1, 2, 3))
        assert same.sum() == 1 and y[same].item() == label


def test_a_damaged_file_is_named(small_pcam):
    folder, _ = small_pcam
    path = folder / "camelyonpatch_level_2_split_valid_x.h5"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="split_valid_x.h5"):
        load_histology()


def test_labels_of_another_part_are_refused(small_pcam):
    folder, _ = small_pcam
    with h5py.File(folder / "camelyonpatch_level_2_split_test_y.h5", "w") as file:
        file["y"] = np.zeros((9, 1, 1, 1), np.uint8)
    with pytest.raises(InputError, match="for 9 labels"):
        load_histology()


def test_without_the_files_one_line_says_so_and_tissue_is_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MRCT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(histology, "drawn_histology", lambda seed: f"drawn with seed {seed}")
    assert load_histology(seed=4) == "drawn with seed 4"
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "PCam" in said and "MRCT_DATA" in said


# Stains


def test_layers_multiply_and_densities_add():
    one, two = torch.rand(2, 2, 2, 5, 5)
    torch.testing.assert_close(beer_lambert(one + two), beer_lambert(one) * beer_lambert(two))
    torch.testing.assert_close(optical_density(torch.tensor([1.0, 0.1, 0.01])), torch.tensor([0.0, 1.0, 2.0]))
    assert optical_density(torch.zeros(1)).isfinite().all()


def test_stains_are_taken_apart_again():
    amounts = 0.5 * torch.rand(2, 2, 4, 4)
    found = stain_amounts(beer_lambert(amounts))
    torch.testing.assert_close(found[:, :2], amounts, atol=1e-5, rtol=1e-4)
    assert found[:, 2].abs().max() < 1e-5
    images = torch.rand(2, 3, 4, 4) * 0.9 + 0.1
    torch.testing.assert_close(beer_lambert(stain_amounts(images), complete()), images, atol=1e-5, rtol=1e-4)


def test_stains_agree_with_scikit_image():
    from skimage.color import rgb_from_hed

    theirs = torch.from_numpy(rgb_from_hed[:2]).float()
    torch.testing.assert_close(STAINS, theirs, atol=0.011, rtol=0)  # theirs rounds to two digits


# Drawn tissue


def test_the_same_seed_draws_the_same(drawn):
    again, other = draw_patches(5, 6, 20), draw_patches(6, 6, 20)
    assert torch.equal(drawn.images, again.images) and torch.equal(drawn.tumour, again.tumour)
    assert not torch.equal(drawn.images, other.images)


def test_shapes_and_kinds(drawn):
    assert drawn.images.shape == (120, 3, 96, 96) and drawn.images.dtype == torch.uint8
    assert drawn.tumour.shape == (120, 96, 96) and drawn.tumour.dtype == torch.bool
    assert drawn.classes.shape == drawn.slides.shape == (120,)
    assert drawn.slides.unique(return_counts=True)[1].tolist() == [20] * 6


def test_the_centre_alone_decides(drawn):
    in_centre = drawn.tumour[:, CENTRE, CENTRE].flatten(1).any(1)
    assert torch.equal(in_centre.long(), drawn.classes)
    anywhere = drawn.tumour.flatten(1).any(1)
    assert (anywhere & ~in_centre).sum() >= 10, "tumour off the centre, which must not count"
    assert drawn.tumour[in_centre][:, CENTRE, CENTRE].flatten(1).float().mean(1).min() > 0.2, "no doubtful label"


def test_every_third_slide_is_free_of_tumour(drawn):
    sick = [bool(drawn.tumour[drawn.slides == slide].any()) for slide in range(6)]
    assert sick == [False, True, True] * 2


def test_tumour_has_more_haematoxylin(drawn):
    """Larger nuclei, closer together: within a slide, where nothing else differs."""
    for slide in (1, 2, 4, 5):
        mine = drawn[drawn.slides == slide]
        density = optical_density(mine.images.float() / 255)[:, 0]  # haematoxylin absorbs red, eosin hardly does
        assert density[mine.tumour].mean() > 1.1 * density[~mine.tumour].mean()


def test_the_colours_of_a_patch_betray_its_slide(drawn):
    """Its nearest neighbour in colour is mostly of the same slide; by chance it would be in one of six."""
    colours = drawn.images.float().flatten(2).quantile(torch.tensor([0.1, 0.5, 0.9]), dim=2).permute(1, 0, 2).flatten(1)
    distance = torch.cdist(colours, colours).fill_diagonal_(torch.inf)
    assert (drawn.slides[distance.argmin(1)] == drawn.slides).float().mean() > 0.4


def test_parts_share_no_slide(monkeypatch):
    monkeypatch.setattr(histology, "PER_SLIDE", 2)
    monkeypatch.setattr(histology, "draw_patches", lambda seed: draw_patches(seed, histology.SLIDES, 2))
    loaded = histology.drawn_histology()
    slides = [set(getattr(loaded, part).slides.tolist()) for part in PARTS]
    assert [len(s) for s in slides] == [20, 6, 10] and len(set.union(*slides)) == 36
    for part in PARTS:
        assert 0 < getattr(loaded, part).tumour.flatten(1).any(1).float().mean() < 1


def test_choosing_keeps_all_parts_together(drawn):
    few = drawn[torch.tensor([7, 3])]
    assert len(few) == 2 and torch.equal(few.images[0], drawn.images[7]) and few.slides[1] == drawn.slides[3]
