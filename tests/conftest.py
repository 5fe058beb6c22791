"""What several test files share: a small cohort, drawn once."""

import pytest
import torch

from mrctlib.data import phantom
from mrctlib.data.cohorts import find_cases
from mrctlib.runtime import Tier


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Six phantom patients on a coarse grid."""
    return phantom.write_cohort(tmp_path_factory.mktemp("data") / "cohort", 6, seed=3, shape=(40, 40, 24))


@pytest.fixture(scope="session")
def cases(cohort):
    return find_cases(cohort)


@pytest.fixture
def cpu() -> Tier:
    return Tier("cpu", torch.device("cpu"))
