"""Tiers, seeds, and files that are whole or absent."""

import os

import pytest
import torch

from mrctlib.runtime import (
    InputError,
    at_most,
    cpus_allowed,
    derive_seed,
    peak_memory_mb,
    precision,
    refuse_existing,
    say_how_long,
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


@pytest.mark.parametrize(
    ("found", "asked", "name", "device"),
    [
        ("", "", "cpu", "cpu"), ("mps", "", "mps", "mps"), ("cuda", "", "gpu", "cuda:1"),
        ("cuda", "cpu", "cpu", "cpu"), ("mps", "cpu", "cpu", "cpu"), ("mps", "gpu", "gpu", "mps"),
        ("", "gpu", "gpu", "cpu"), ("", "mps", "mps", "cpu"),
    ],
)  # fmt: skip
def test_the_tier_is_that_of_the_machine_or_as_asked(monkeypatch, found, asked, name, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: found == "mps")
    monkeypatch.setenv("MRCT_TIER", asked)
    monkeypatch.setenv("LOCAL_RANK", "1")
    here = tier()
    assert (here.name, here.device) == (name, torch.device(device))
    assert here.pick(cpu=1, gpu=2) == (2 if name == "gpu" else 1), "Apple's GPUs take the small sizes"


CARDS = {  # card: compute capability, and what its networks compute in
    "P100": ((6, 0), torch.float32),
    "GTX 1080": ((6, 1), torch.float32),
    "V100": ((7, 0), torch.float16),
    "T4": ((7, 5), torch.float16),
    "A100": ((8, 0), torch.bfloat16),
    "L4": ((8, 9), torch.bfloat16),
    "H200": ((9, 0), torch.bfloat16),
}


@pytest.mark.parametrize("card", CARDS)
def test_each_card_computes_in_what_it_has(monkeypatch, card):
    capability, expected = CARDS[card]
    monkeypatch.delenv("MRCT_PRECISION", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    # Torch says that every card has it, unless it is told to leave emulation out.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: (
        including_emulation or capability >= (8, 0)
    ))  # fmt: skip
    assert precision(torch.device("cuda")) == expected
    for other in ("cpu", "mps"):
        assert precision(torch.device(other)) == torch.float32
    monkeypatch.setenv("MRCT_PRECISION", "float32")
    assert precision(torch.device("cuda")) == torch.float32
    monkeypatch.setenv("MRCT_PRECISION", "float8")
    with pytest.raises(InputError, match="float8.*float32, bfloat16, float16"):
        precision(torch.device("cuda"))


def test_steps_can_be_cut_to_find_crashes(monkeypatch):
    assert at_most(500) == 500
    monkeypatch.setenv("MRCT_STEPS", "2")
    assert at_most(500) == 2 and at_most(1) == 1
    for wrong in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("MRCT_STEPS", wrong)
        with pytest.raises(InputError, match="MRCT_STEPS"):
            at_most(500)


def test_a_long_wait_is_said_before_it(capsys):
    say_how_long("training", 59)
    assert not capsys.readouterr().err
    say_how_long("training", 200)
    say_how_long("training", 9000)
    assert capsys.readouterr().err.split("\n")[:2] == [
        "training: about 3 min on this machine", "training: about 2.5 h on this machine",
    ]  # fmt: skip


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
