"""The calculation of what a GPU would take: it counts the right things, and knows every notebook's own claim."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mrctlib.training.loop import Training
from mrctlib.training.supervised import fit

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("gpu_minutes", ROOT / "benchmarks" / "gpu_minutes.py")
gpu_minutes = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(gpu_minutes)


def test_a_convolution_is_counted_with_its_operations_and_a_view_not_at_all():
    image, kernel = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 3, 3)
    with gpu_minutes.Watch() as seen:
        F.conv2d(image, kernel, padding=1).view(2, -1)
    (operator,) = seen.operators
    numbers = image.numel() + kernel.numel() + 2 * 5 * 64
    assert operator == (3, 4 * numbers, 2 * (2 * 5 * 64) * (3 * 3 * 3))


@pytest.mark.parametrize(
    ("operator", "longest"),
    [
        ((2, 0, 0), 2 * gpu_minutes.LAUNCH),
        ((1, 320 * 10**9, 0), 1.0),
        ((3, 0, 13 * 10**12), 2.0),  # at a tenth of 65 TFLOP/s
    ],
)
def test_an_operator_takes_the_longest_of_three(operator, longest):
    assert gpu_minutes.seconds_of([operator], share=0.1) == pytest.approx(gpu_minutes.HOST + longest)


def test_the_second_step_of_each_training_is_noted_with_the_steps_that_were_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("MRCT_STEPS", "2")
    monkeypatch.setattr(Training, "__init__", Training.__init__)  # so that what is put there is taken away again
    monkeypatch.setattr(Training, "one_step", Training.one_step)
    gpu_minutes.watch_trainings(str(tmp_path / "rows"))
    for width in (4, 400):
        network = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
        fit(network, torch.rand(8, 3), torch.zeros(8, dtype=torch.long), steps=1000, name=f"width {width}", batch=4)
    narrow, wide = map(json.loads, (tmp_path / "rows").read_text().splitlines())
    assert (narrow["name"], narrow["steps"], wide["steps"]) == ("width 4", 1000, 1000)
    assert len(narrow["operators"]) == len(wide["operators"])
    of = {row["name"]: sum(flops for _, _, flops in row["operators"]) for row in (narrow, wide)}
    assert of["width 400"] == 100 * of["width 4"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("l*/*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_says_how_long_it_takes(path):
    assert "2 CPU cores" in gpu_minutes.says(path)
