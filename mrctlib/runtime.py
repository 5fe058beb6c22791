"""What every room stands on: the device and its tier, seeds, progress, and files that are whole or absent."""

from __future__ import annotations

import atexit
import hashlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import distributed
from tqdm import tqdm


def cpus_allowed(limit_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many CPUs this process may use: those it may run on, or fewer where a container has a quota of CPU time."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit_file.read_text().split()
        return max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cpus


def settle_torch() -> None:
    """Let torch take no more CPUs than are ours, and take the smallest numbers for 0."""
    # The flat air of medical images breeds numbers too small for the normal format: a CPU is many times slower on them.
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True  # sizes do not change within a training, so trying all kernels once pays
    # On Binder 2 of a host's many CPUs are ours. Torch sees the many, and its threads would wait for each other.
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), cpus_allowed()))


class InputError(ValueError):
    """Bad input, said in one line: which file or argument, what is wrong with it, and what to do."""


@dataclass(frozen=True)
class Tier:
    """What the hardware allows in minutes: `cpu` (2 cores, 2 GB), `mps` (Apple: the same sizes, on its GPU) or `gpu`
    (any CUDA device from a T4 with 16 GB up: larger networks and images)."""

    name: str
    device: torch.device

    def pick(self, *, cpu: Any, gpu: Any) -> Any:
        """The value for this tier, so that a notebook names both sizes side by side."""
        return gpu if self.name == "gpu" else cpu


def tier() -> Tier:
    """The tier of this machine; the environment variable `MRCT_TIER` (`cpu`, `mps` or `gpu`) overrides what is found.

    Asking for a GPU on a machine without one gives the sizes of that tier on the CPU: slow, and useful in tests.

    Raises:
        InputError: `MRCT_TIER` is none of these.
    """
    found = "gpu" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    name = os.environ.get("MRCT_TIER") or found
    if name not in ("cpu", "mps", "gpu"):
        raise InputError(f"MRCT_TIER is {name!r}: set it to cpu, mps or gpu, or leave it unset")
    if name == "cpu" or found == "cpu":
        return Tier(name, torch.device("cpu"))
    if found == "mps":
        return Tier(name, torch.device("mps"))
    return Tier(name, torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))))


def at_most(steps: int) -> int:
    """`steps`, or fewer where the environment variable `MRCT_STEPS` says so: to find crashes, since nothing is learned.

    Raises:
        InputError: `MRCT_STEPS` is not a whole number above 0.
    """
    limit = os.environ.get("MRCT_STEPS") or str(steps)
    if not limit.isdecimal() or int(limit) < 1:
        raise InputError(f"MRCT_STEPS is {limit!r}: set it to a whole number above 0, or leave it unset")
    return min(steps, int(limit))


def processes() -> tuple[int, int]:
    """(number of this process, how many train together): 0 of 1, or as torchrun started them."""
    if "RANK" not in os.environ:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group()  # gloo for CPUs, NCCL for GPUs
        atexit.register(distributed.destroy_process_group)
    return distributed.get_rank(), distributed.get_world_size()


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def precision(device: torch.device) -> torch.dtype:
    """What networks compute in on a device: bfloat16 where a GPU has it (not by emulation), else float16 where it has
    units for that (V100, T4), and float32 on other GPUs, on Apple's and on a CPU.

    Raises:
        InputError: the environment variable `MRCT_PRECISION`, which overrides, is none of `PRECISIONS`.
    """
    if name := os.environ.get("MRCT_PRECISION"):
        if name not in PRECISIONS:
            raise InputError(f"MRCT_PRECISION is {name!r}: set it to {', '.join(PRECISIONS)}, or leave it unset")
        return PRECISIONS[name]
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability(device) >= (7, 0) else torch.float32


def lowered(network: Callable) -> Callable:
    """A network as a function that computes in the device's `precision` and answers in float32.

    So losses are computed in full: a mean of many scores, or a difference of neighbours, needs more than 8 bits.
    """

    def run(*inputs: Any) -> Any:
        device = inputs[0].device
        lower = precision(device)
        if lower == torch.float32:
            return network(*inputs)
        with torch.autocast(device.type, lower):
            return _in_float32(network(*inputs))

    return run


def _in_float32(answer: Any) -> Any:
    if isinstance(answer, torch.Tensor):
        return answer.float() if answer.is_floating_point() else answer
    return type(answer)(map(_in_float32, answer))  # a tuple or list


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device, without waiting for it: only from pinned memory does a GPU fetch while it computes."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def resident(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On a GPU, if it takes less than a quarter of what is free there; else as it is."""
    fits = device.type == "cuda" and tensor.nbytes < torch.cuda.mem_get_info(device)[0] / 4
    return tensor.to(device) if fits else tensor


def rows(tensor: torch.Tensor, index: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Rows of a tensor, on a device, wherever it lies."""
    return to_device(tensor[to_device(index, tensor.device)], device)


def derive_seed(*parts: int | str) -> int:
    """One seed from several parts, e.g. `derive_seed(seed, "case", 3)`: the same everywhere, unlike `hash`."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def digest(*things: torch.Tensor | torch.nn.Module | str | None) -> str:
    """16 hexadecimal digits that tell data apart: tensors by kind, shape and value, networks by layers and weights."""
    total = hashlib.sha256()
    for thing in things:
        if isinstance(thing, torch.nn.Module):
            total.update(digest(str(thing), *thing.state_dict().values()).encode())
        elif isinstance(thing, torch.Tensor):
            values = thing.detach().cpu().contiguous()
            total.update(f"{values.dtype}{tuple(values.shape)}".encode())
            total.update(values.reshape(-1).view(torch.uint8).numpy())
        else:
            total.update(repr(thing).encode())
    return total.hexdigest()[:16]


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


def say_how_long(name: str, seconds: float) -> None:
    """One line before a long wait, where it is more than a minute."""
    if seconds > 60:
        words = f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
        tqdm.write(f"{name}: about {words} on this machine", file=sys.stderr)


@contextmanager
def whole_file(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure nothing changes.

    Raises:
        InputError: `path` exists and `force` is false, it cannot lie there, or the disk refused the bytes.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        mode = part.stat().st_mode  # as the umask has it: a writer may make a new file that only its owner can read
        yield part
        if part.stat().st_mode != mode:
            os.chmod(part, mode)
        with open(part, "r+b") as written:  # Windows wants it writable
            os.fsync(written.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: could not be written ({reason}); nothing was changed") from error
    finally:
        with suppress(OSError):  # of a folder that is none; the error that says so must come through
            part.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """`whole_file` for a folder, with a temporary one that is there to write into; one called `path` is replaced.

    Raises:
        InputError: the disk refused the bytes.
    """
    part, new = path.with_name(f".part-{os.getpid()}-{path.name}"), [p for p in path.parents if not p.exists()]
    try:
        part.mkdir(parents=True)
        yield part
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    except OSError as error:
        raise InputError(f"{path}: could not be written ({error.strerror or error}); nothing was changed") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for folder in new:
            with suppress(OSError):  # not empty: it went well
                folder.rmdir()


def check_output(path: str | Path, *, force: bool = False, folder: bool = False) -> None:
    """Try, before any work, whether a result can be written to `path` at its end.

    Raises:
        InputError: it exists and `force` is false, is a folder where a file is meant (or the reverse), or cannot be
            made where it is to lie.
    """
    path = Path(path)
    if not folder:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file in it")
        refuse_existing(path, force=force)
    there = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p) and (folder or p != path))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = "is a file" if there.is_file() else error.strerror
        raise InputError(f"{path}: cannot be written ({there}: {reason}); name another output") from error


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
