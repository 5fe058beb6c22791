"""Importing the library changes nothing of the process that does it; `setup` does, where it is called."""

import os
import subprocess
import sys

PROBE = """
import importlib, pkgutil, sys
import matplotlib, torch
import mrctlib

torch.set_num_threads(64)  # more than are ours

def state():
    tiny = torch.tensor([1e-39]) * 0.5
    return dict(matplotlib.rcParams), torch.get_num_threads(), bool(tiny > 0), torch.get_rng_state().tolist()

before = state()
for module in pkgutil.walk_packages(mrctlib.__path__, "mrctlib."):
    importlib.import_module(module.name)
assert len([name for name in sys.modules if name.startswith("mrctlib.")]) > 30
assert state() == before
mrctlib.setup()
assert matplotlib.rcParams["font.size"] == mrctlib.plots.STYLE["font.size"] != before[0]["font.size"]
assert torch.get_num_threads() <= mrctlib.runtime.cpus_allowed()
assert state()[2] is not before[2]
"""


def test_importing_changes_nothing_and_setup_does():
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", PROBE], check=True, env=environment)


def test_the_command_line_sets_up():
    run = "import sys, torch, mrctlib.cli\nmrctlib.cli.main(['compare', 'nowhere', '--out', 'nowhere'])\n"
    check = "import matplotlib\nassert matplotlib.rcParams['font.size'] == 14 and not torch.tensor([1e-39]) * 0.5 > 0"
    subprocess.run([sys.executable, "-c", run + check], check=True, capture_output=True)
