"""What several test files share: a small cohort, drawn once."""

import os

import pytest
import torch

from mrctlib import setup
from mrctlib.data.cohorts import find_cases
from mrctlib.phantom import head
from mrctlib.runtime import Tier

os.environ.setdefault("MRCT_TIER", "cpu")  # the same tests on every machine; what a GPU does, `make gpu` tries
setup()


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Six phantom patients on a coarse grid."""
    return head.write_cohort(tmp_path_factory.mktemp("data") / "cohort", 6, seed=3, shape=(40, 40, 24))


@pytest.fixture(scope="session")
def cases(cohort):
    return find_cases(cohort)


@pytest.fixture
def cpu() -> Tier:
    return Tier("cpu", torch.device("cpu"))
