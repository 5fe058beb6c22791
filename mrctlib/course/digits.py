"""Handwritten digits, 28 x 28: MNIST where it can be had, else the small set that comes with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision import datasets

from mrctlib.course.sources import RemoteFile, find_files
from mrctlib.runtime import InputError

SIZE = 28  # pixels
EMBEDDED_TEST = 500  # of the 1797 embedded digits

_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_DIGESTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST = [
    RemoteFile(f"MNIST/raw/{name}", sha256, [f"{mirror}{name}.gz" for mirror in _MIRRORS])
    for name, sha256 in _DIGESTS.items()
]


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 28, 28) from 0 (paper) to 1 (ink), classes (N,) from 0 to 9; `source` says which set they are."""

    train_images: Tensor
    train_classes: Tensor
    test_images: Tensor
    test_classes: Tensor
    source: str


def load_handwritten_digits() -> Digits:
    """MNIST (LeCun et al. 1998), found or downloaded by `find_files`; else the embedded digits.

    Raises:
        InputError: `MRCT_DATA` names no folder, or a file in it is damaged.
    """
    folder = find_files("MNIST", MNIST)
    return embedded_digits() if folder is None else _mnist(folder)


def _mnist(folder: Path) -> Digits:
    train, test = (_part(folder, train=True), _part(folder, train=False))
    source = f"MNIST (LeCun et al. 1998), {len(train[0]):,} to train on and {len(test[0]):,} to test"
    return Digits(*train, *test, source)


def _part(folder: Path, *, train: bool) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) from 0 to 1 and classes (N,), as torchvision reads them."""
    try:
        part = datasets.MNIST(folder, train=train)
        if part.data.shape != (len(part.targets), SIZE, SIZE):
            raise ValueError(f"{tuple(part.data.shape)} for {len(part.targets)} classes")
    except Exception as error:  # what a damaged file raises differs from one version of torchvision to the next
        images, labels = MNIST[:2] if train else MNIST[2:]
        raise InputError(
            f"{folder / images.path} or {labels.path} is damaged ({error}); delete both, and they are fetched again"
        ) from error
    return part.data[:, None].float().div_(255), part.targets


def embedded_digits() -> Digits:
    """The 1797 digits of scikit-learn (8 x 8; Alpaydin and Kaynak 1998), enlarged to 20 x 20 and framed, as in MNIST.

    The split is fixed, with the same share of each class on both sides. Who wrote which digit is not known, so one
    writer may be on both sides: a test on new writers would be harder.
    """
    bunch = sklearn.datasets.load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    images = F.pad(F.interpolate(small, size=(20, 20), mode="bilinear"), (4, 4, 4, 4))
    classes = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        np.arange(len(classes)), test_size=EMBEDDED_TEST, stratify=bunch.target, random_state=0
    )
    source = f"scikit-learn's digits enlarged from 8 x 8, {len(train):,} to train on and {len(test):,} to test"
    return Digits(images[train], classes[train], images[test], classes[test], source)
