"""The towers of lecture 1, and what is stored of their training."""

import numpy as np
import pytest
import torch
from torch import nn

from mrctlib.course.depth import DEPTHS, STARTS, small_digits, stored, tower


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_tower_has_as_many_layers_as_it_says(depth):
    network = tower(depth, shortcut=True, norm=True)
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules()) == depth
    assert network(small_digits()[0][:2]).shape == (2, 10)


def test_he_s_start_keeps_the_signal_and_torch_s_does_not():
    def spread(start):
        torch.manual_seed(0)
        network = tower(20, shortcut=False, norm=False, start=start)
        return float(network[:-3](small_digits()[0][:32]).std(0).mean())  # from image to image

    assert spread("He") > 0.01 and spread("torch") < 1e-4 * spread("He")


def test_all_trainings_are_stored():
    runs = stored()
    kinds = {(run["depth"], run["shortcut"], run["norm"], run["start"], run["seed"]) for run in runs}
    assert len(runs) == len(kinds) == len(DEPTHS) * 2 * 2 * len(STARTS) * 3
    assert all(0 <= run[part] <= 1 for run in runs for part in ("trained", "test"))
    assert np.mean([run["trained"] for run in runs if run["norm"] and run["shortcut"]]) > 0.9
