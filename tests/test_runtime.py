"""Tiers, seeds, and files that are whole or absent."""

import os

import pytest
import torch

from mrctlib.runtime import (
    InputError,
    cpus_allowed,
    derive_seed,
    peak_memory_mb,
    refuse_existing,
    seed_everything,
    tier,
    whole_file,
)


def test_the_tier_can_be_set(monkeypatch):
    monkeypatch.setenv("MRCT_TIER", "cpu")
    assert tier().name == "cpu" and tier().device.type == "cpu" and tier().pick(cpu=1, gpu=2) == 1
    monkeypatch.setenv("MRCT_TIER", "gpu")
    assert tier().name == "gpu" and tier().pick(cpu=1, gpu=2) == 2
    monkeypatch.setenv("MRCT_TIER", "tpu")
    with pytest.raises(InputError, match="MRCT_TIER"):
        tier()


def test_seeds_are_the_same_everywhere():
    assert derive_seed(0, "case", 3) == derive_seed("0", "case", "3") > 0
    assert derive_seed(0, 12) != derive_seed(0, 1, 2)
    seed_everything(1, "a")
    first = torch.rand(3)
    seed_everything(1, "a")
    assert torch.equal(first, torch.rand(3))


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with whole_file(path) as part:
        part.write_text("first")
    with pytest.raises(InputError, match="exists already"), whole_file(path) as part:
        part.write_text("second")
    assert path.read_text() == "first"
    with whole_file(path, force=True) as part:
        part.write_text("third")
    assert path.read_text() == "third" and len(os.listdir(path.parent)) == 1


def test_an_empty_folder_may_be_used(tmp_path):
    refuse_existing(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises(InputError):
        refuse_existing(tmp_path)


def test_memory_is_counted():
    assert 50 < peak_memory_mb() < 100_000


def test_a_quota_of_cpu_time_is_seen(tmp_path):
    everything = cpus_allowed(tmp_path / "absent")
    limit = tmp_path / "cpu.max"
    for text, expected in (
        ("max 100000", everything),
        ("100000 100000", 1),
        ("5000 100000", 1),
        ("10000000 1000", everything),
    ):
        limit.write_text(text)
        assert cpus_allowed(limit) == expected
