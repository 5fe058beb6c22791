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


def pytest_collection_modifyitems(items):
    """Whole notebooks first: half at the start, half in the middle, where the second of two workers starts.

    So what is left for the end is short, and no worker waits for the other.
    """
    notebooks = [item for item in items if item.path.name == "test_notebooks.py"]
    others = [item for item in items if item.path.name != "test_notebooks.py"]
    first, second = notebooks[0::2], notebooks[1::2]
    middle = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *others[:middle], *second, *others[middle:]]
