"""The road back: on the device of the generator, in its precision, and in little memory."""

import tracemalloc

import numpy as np
import pytest
import torch

from mrctlib.data.volumes import Volume
from mrctlib.runtime import Tier
from mrctlib.training import synthesis
from mrctlib.training.recipe import CycleRecipe, cohort_slices
from mrctlib.training.synthesis import load_generator, synthesize
from mrctlib.training.translation import TranslationTraining

SMALL = CycleRecipe(generator="unet", base=4, depth=2, spacing=6.4, size=32, batch=2, steps=1)


class Seen(torch.nn.Module):
    """A generator of nothing that notes where and how it is asked."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.weight, self.asked = torch.nn.Parameter(torch.zeros(1, device=device)), []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append((x.device.type, torch.is_autocast_enabled("cpu"), len(x), x.shape[2]))
        return torch.zeros(x.shape)


def test_the_slices_go_to_where_the_generator_is(cases):
    mr, _, body = cases[0].pair()
    seen = Seen("meta")  # a device that computes nothing, in place of a GPU
    sct = synthesize(seen, mr, body, SMALL)
    assert {device for device, *_ in seen.asked} == {"meta"}
    assert (sct.data[body] == 250).all() and (sct.data[~body] == -1000).all()


def test_the_generator_goes_to_the_device_of_the_tier(cases, tmp_path, cpu, monkeypatch):
    TranslationTraining(SMALL, *cohort_slices(cases, SMALL), cpu, tmp_path).run()
    monkeypatch.setattr(synthesis, "tier", lambda: Tier("gpu", torch.device("meta")))
    generator, _, _ = load_generator(tmp_path)
    assert {parameter.device.type for parameter in generator.parameters()} == {"meta"}


@pytest.mark.parametrize(("precision", "lower"), [("float32", False), ("bfloat16", True)])
def test_the_generator_computes_in_the_precision_of_the_device(precision, lower, cases, monkeypatch):
    monkeypatch.setenv("MRCT_PRECISION", precision)
    mr, _, body = cases[0].pair()
    seen = Seen("cpu")
    synthesize(seen, mr, body, SMALL)
    assert {autocast for _, autocast, *_ in seen.asked} == {lower}


def test_large_slices_are_translated_a_few_at_a_time(cases):
    mr, _, body = cases[0].pair()
    seen = Seen("cpu")
    synthesize(seen, Volume(mr.data, np.diag([32.0, 32.0, 4.0, 1.0])), body, SMALL)
    assert max(size for *_, size in seen.asked) > 128
    assert max(number / 2 * size**2 for _, _, number, size in seen.asked) <= synthesis.PIXELS


@pytest.mark.parametrize(("generator", "depth", "window"), [("unet", 3, 40), ("unet", 4, 48), ("resnet", 9, 36)])
def test_a_body_wider_than_the_window_gets_as_little_more_air_as_the_generator_allows(generator, depth, window):
    voxels, body = np.zeros((64, 64, 4), np.float32), np.zeros((64, 64, 4), bool)
    voxels[14:49, 14:49], body[14:49, 14:49] = np.arange(4), True  # 35 pixels across
    seen, recipe = Seen("cpu"), CycleRecipe(generator=generator, depth=depth, spacing=1.0, size=32)
    synthesize(seen, Volume(voxels, np.eye(4)), body, recipe)
    assert {size for *_, size in seen.asked} == {window}


def test_a_slice_more_costs_little_more_than_its_own_voxels():
    """In bytes a voxel; the synthetic CT itself has 4."""
    peaks = {}
    for slices in (40, 80):
        voxels = np.zeros((128, 128, slices), np.float32)
        voxels[20:100, 10:118] = np.linspace(100, 300, slices)
        mr, body = Volume(voxels, np.diag([0.8, 0.8, 1.0, 1.0])), voxels > 0
        tracemalloc.start()
        try:
            synthesize(Seen("cpu"), mr, body, SMALL)
            peaks[slices] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (peaks[80] - peaks[40]) / (128 * 128 * 40) < 4.5
