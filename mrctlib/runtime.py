"""What every room stands on: the device and its tier, seeds, progress, and files that are whole or absent."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

# Numbers too small for the normal format make a CPU many times slower; the flat air of medical images breeds them.
torch.set_flush_denormal(True)


def cpus_allowed(limit_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many CPUs this process may use: those it may run on, or fewer where a container has a quota of CPU time."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit_file.read_text().split()
        return max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cpus


# On Binder 2 of a host's many CPUs are ours. Torch sees the many, and its threads would wait for each other.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(torch.get_num_threads(), cpus_allowed()))


class InputError(ValueError):
    """Bad input, said in one line: which file or argument, what is wrong with it, and what to do."""


@dataclass(frozen=True)
class Tier:
    """What the hardware allows: `cpu` (2 cores, 2 GB, minutes) or `gpu` (full resolution)."""

    name: str
    device: torch.device

    def pick(self, *, cpu: Any, gpu: Any) -> Any:
        """The value for this tier, so that a notebook names both sizes side by side."""
        return cpu if self.name == "cpu" else gpu


def tier() -> Tier:
    """The tier of this machine; the environment variable `MRCT_TIER` (`cpu` or `gpu`) overrides what is found.

    Asking for `gpu` on a machine without one gives the sizes of that tier on the CPU: slow, and useful in tests.

    Raises:
        InputError: `MRCT_TIER` is neither `cpu` nor `gpu`.
    """
    found = "gpu" if torch.cuda.is_available() else "cpu"
    name = os.environ.get("MRCT_TIER") or found
    if name not in ("cpu", "gpu"):
        raise InputError(f"MRCT_TIER is {name!r}: set it to cpu or gpu, or leave it unset")
    return Tier(name, torch.device("cuda" if name == "gpu" and found == "gpu" else "cpu"))


def derive_seed(*parts: int | str) -> int:
    """One seed from several parts, e.g. `derive_seed(seed, "case", 3)`: the same everywhere, unlike `hash`."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def seed_everything(*parts: int | str) -> None:
    """Seed Python, NumPy and torch (all devices) from the same parts."""
    seed = derive_seed(*parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def progress(iterable: Iterable, label: str, **options: Any) -> tqdm:
    """A progress bar with time left. In a log, neither terminal nor notebook, a line now and then, not a flood."""
    live = sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
    options.setdefault("mininterval", 0.5 if live else 15)
    options.setdefault("dynamic_ncols", True)
    return tqdm(iterable, desc=label, **options)


@contextmanager
def whole_file(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure nothing changes.

    Raises:
        InputError: `path` exists and `force` is false, its folder is missing, or the disk refused the bytes.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "r+b") as written:  # Windows wants it writable
            os.fsync(written.fileno())
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: could not be written ({error.strerror or error}); nothing was changed") from error
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: str | Path, *, force: bool = False) -> None:
    """Raise an InputError if `path` exists and may not be replaced (an empty folder may)."""
    path = Path(path)
    empty_folder = path.is_dir() and not any(path.iterdir())
    if path.exists() and not force and not empty_folder:
        raise InputError(f"{path}: exists already; name another output, or pass --force (force=True) to replace it")


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        return float("nan")  # the standard library has no such figure there
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
