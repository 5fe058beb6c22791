"""Peak resident memory of `mrct synthesize` on a made-up MR, in a process of its own, with torch and all.

    python benchmarks/memory_of_synthesis.py [--shape 512x512x400] [--float32] [--no-mask]

The MR is int16 (or float32) with pixels of 0.8 mm, its mask uint8; the network is that of the `cpu` tier, trained for
2 steps on phantoms, since how good it is does not matter here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

CHILD = """
import sys
from mrctlib.cli import main
from mrctlib.runtime import peak_memory_mb
before = peak_memory_mb()
assert main(sys.argv[1:]) == 0
print("PEAK", before, peak_memory_mb())
"""


def write_patient(folder: Path, shape: tuple[int, ...], kind: type) -> tuple[Path, Path]:
    """The files of an MR of two tissues with noise, and of its mask."""
    generator = np.random.default_rng(0)
    r, a = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    distance = np.hypot(r / 0.9, a / 0.75)
    mr, mask = np.zeros(shape, kind, order="F"), np.zeros(shape, np.uint8, order="F")
    for s in range(shape[2]):
        mr[..., s] = np.select([distance < 0.9, distance < 1], [500, 900], 10) + generator.integers(0, 40, shape[:2])
        mask[..., s] = distance < 1
    files = folder / "mr.nii.gz", folder / "mask.nii.gz"
    for image, file in zip((mr, mask), files, strict=True):
        nib.save(nib.Nifti1Image(image, np.diag([0.8, 0.8, 1, 1])), file)
    return files


def mrct(*arguments: object) -> list[float]:
    """Run the command line in a process of its own: MB that it took before and at most."""
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    here = os.environ | {"MRCT_TIER": "cpu"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=here).stdout
    return [float(number) for number in said.splitlines()[-1].split()[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 512, 400))
    parser.add_argument("--float32", action="store_true", help="voxels of 4 bytes in the file, not 2")
    parser.add_argument("--no-mask", action="store_true", help="the body is found in the MR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as away:
        folder = Path(away)
        mrct("phantom", folder / "patients", "--cases", 3, "--shape", "80x80x48")
        mrct("train", folder / "patients", "--out", folder / "run", "--steps", 2)
        mr, mask = write_patient(folder, options.shape, np.float32 if options.float32 else np.int16)
        given = [] if options.no_mask else ["--mask", mask]
        start, most = mrct("synthesize", folder / "run", mr, "--out", folder / "sct.nii", *given)
    size = " x ".join(map(str, options.shape))
    print(f"synthesis of {size}: {most / 1000:.2f} GB resident at most, of which {start / 1000:.2f} GB before it began")


if __name__ == "__main__":
    main()
