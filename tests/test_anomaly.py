"""The score is the paper's sum, the search finds what the generator can make, and nothing of the generator moves."""

import pytest
import torch
from notebook_code import defined_in
from torch import nn

from mrctlib.course.exercises.lecture8 import anomaly_score
from mrctlib.course.lesions import FINDINGS, draw_lesion_slices
from mrctlib.runtime import InputError

(search,) = defined_in("lectures/08_gans_in_medicine.ipynb", "search")


def test_the_score_of_numbers_that_can_be_added_by_hand():
    images, made = torch.tensor([[[[1.0, -2.0]]], [[[0.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.0]]]])
    seen, seen_made = torch.tensor([[1.0, 1.0], [2.0, 0.0]]), torch.tensor([[1.0, 3.0], [0.0, -1.0]])
    assert anomaly_score(images, made, seen, seen_made, 0.25).tolist() == [0.75 * 4 + 0.25 * 2, 0.75 * 0.5 + 0.25 * 3]
    assert torch.equal(anomaly_score(images, made, seen, seen_made, 0.0), torch.tensor([4.0, 0.5]))


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 12), nn.BatchNorm1d(12), nn.Unflatten(1, (1, 3, 4)))


def test_the_search_finds_the_vectors_that_made_the_images(generator):
    truth = torch.randn(5, 3)
    wanted = generator.eval()(truth).detach()
    found = search(
        generator, lambda made: (made - wanted).abs().sum((1, 2, 3)), torch.zeros(5, 3), steps=400, rate=0.03
    )
    assert torch.allclose(found, truth, atol=0.1)


def test_what_the_generator_cannot_make_stays_far(generator):
    inside = generator.eval()(torch.randn(1, 3)).detach()
    outside = inside + 3 * (torch.arange(12).view(1, 1, 3, 4) == 5)

    def left_over(wanted):
        found = search(generator, lambda made: (made - wanted).abs().sum((1, 2, 3)), torch.zeros(1, 3), steps=300)
        return float((generator(found) - wanted).abs().sum().detach())

    assert left_over(outside) > 4 * left_over(inside)


def test_the_search_leaves_start_and_generator_as_they_were(generator):
    start, before = torch.randn(4, 3), {name: value.clone() for name, value in generator.state_dict().items()}
    generator.train()
    found = search(generator, lambda made: made.flatten(1).norm(dim=1), start, steps=5)
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    assert all(weight.grad is None for weight in generator.parameters())
    assert not start.requires_grad and not torch.equal(found, start) and not found.requires_grad


def test_each_vector_is_searched_for_itself(generator):
    wanted, start = torch.randn(4, 1, 3, 4), torch.randn(4, 3)

    def closest(which):
        return search(generator, lambda made: (made - wanted[which]).abs().sum((1, 2, 3)), start[which], steps=20)

    assert torch.allclose(closest(slice(0, 4))[:2], closest(slice(0, 2)), atol=1e-5)


# The slices that the lecture searches in: the keywords of `draw_lesion_slices`.


def test_the_same_people_healthy_and_with_lesions_of_chosen_size():
    draw = {"seed": 0, "cases": range(4), "coarser": 2}
    healthy = draw_lesion_slices(**draw, findings=("no lesion",))
    small, large = (
        draw_lesion_slices(**draw, findings=("tumour",), radius_mm=radius) for radius in ((8, 10), (20, 25))
    )
    assert healthy.images.shape == small.masks.shape == (48, 1, 40, 32)
    assert not healthy.masks.any() and small.masks.flatten(1).any(1).all()
    assert float(large.masks.sum()) > 3 * float(small.masks.sum())
    assert set(small.classes.tolist()) == {FINDINGS.index("tumour")}
    near = torch.nn.functional.max_pool2d(large.masks.float(), 5, 1, 2) > 0
    # Elsewhere a lesion only tints thin fluid at the border of the box, too little of a pixel to be in the mask.
    elsewhere = (healthy.images - large.images)[~near].abs()
    assert elsewhere.max() < 5e-3 and (elsewhere > 1e-3).float().mean() < 2e-4


def test_a_coarser_grid_shows_the_same_heads():
    fine, coarse = (draw_lesion_slices(3, [1], findings=("no lesion",), coarser=times).images for times in (1, 2))
    pooled = torch.nn.functional.avg_pool2d(fine, 2)
    assert float(torch.corrcoef(torch.stack([pooled.flatten(), coarse.flatten()]))[0, 1]) > 0.95


def test_defaults_are_all_findings_at_the_size_of_the_lab():
    plain = draw_lesion_slices(0, [5])
    spelt = draw_lesion_slices(0, [5], findings=FINDINGS, radius_mm=(9.0, 17.0), coarser=1)
    assert plain.images.shape == (12, 1, 80, 64)
    assert torch.equal(plain.images, spelt.images) and torch.equal(plain.classes, spelt.classes)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"findings": ("cyst",)}, r"findings \('cyst',\): choose from"),
        ({"findings": ()}, "findings"),
        ({"coarser": 3}, "coarser 3"),
    ],
)
def test_other_findings_and_grids_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        draw_lesion_slices(0, [0], **wrong)
