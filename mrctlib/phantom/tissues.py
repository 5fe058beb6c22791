"""What the scanners see of each tissue."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Tissue:
    """What the two scanners see of a tissue.

    pd: proton density relative to water; t1, t2 in ms; fat: share of the protons that sit in fat; hu: Hounsfield units.
    """

    pd: float
    t1: float
    t2: float
    fat: float
    hu: float


# PD, T1 and T2 at 1.5 T of CSF, grey and white matter, fat, muscle and skin: BrainWeb (Kwan et al., IEEE TMI 18, 1999;
# its table gives skin the values of CSF, here those of muscle with a little more water). Yellow marrow and the T2 of
# cortical bone: Rank et al., Radiat Oncol 8:51, 2013, table 1. HU: middle of the ranges in Prokop, Spiral and
# Multislice CT of the Body, 2003 (air, fat, white and grey matter, blood); cortical bone of the skull varies per
# patient around 1100. Vitreous, lens, glands, teeth, lesions and flowing blood (which leaves the slice before its echo:
# a void) are set to look as on a scan: mapped from their wording, not measured.
TISSUES: dict[str, Tissue] = {
    "air": Tissue(0.00, 1000, 1, 0.00, -1000),
    "skin": Tissue(0.90, 900, 50, 0.10, 30),
    "fat": Tissue(1.00, 350, 70, 0.95, -90),
    "muscle": Tissue(1.00, 900, 47, 0.03, 50),
    "gland": Tissue(0.95, 700, 75, 0.30, 15),
    "mucosa": Tissue(0.98, 1100, 90, 0.00, 40),
    "bone": Tissue(0.20, 200, 0.46, 0.00, 1100),
    "marrow": Tissue(0.75, 365, 90, 0.60, 250),
    "tooth": Tissue(0.05, 200, 0.30, 0.00, 1900),
    "metal": Tissue(0.00, 1000, 1, 0.00, 8000),
    "csf": Tissue(1.00, 2569, 329, 0.00, 8),
    "grey": Tissue(0.86, 833, 83, 0.00, 40),
    "white": Tissue(0.77, 500, 70, 0.00, 27),
    "dura": Tissue(0.60, 600, 30, 0.00, 55),
    "blood": Tissue(0.12, 1000, 40, 0.00, 48),
    "vitreous": Tissue(1.00, 3000, 500, 0.00, 8),
    "lens": Tissue(0.65, 800, 30, 0.00, 75),
    "concretion": Tissue(0.25, 500, 8, 0.00, 400),
    "tumour": Tissue(0.92, 1200, 130, 0.00, 33),
    "haemorrhage": Tissue(0.80, 420, 55, 0.00, 68),
    "stroke": Tissue(0.90, 1050, 115, 0.00, 18),
    "calcification": Tissue(0.25, 500, 8, 0.00, 600),
}
# Stages: the haemorrhage is late subacute (T1 short, about a week: methaemoglobin), the stroke about a day old
# (water has entered the tissue: T1 and T2 longer, CT darker).
LESIONS = ("tumour", "haemorrhage", "stroke", "calcification")
BRAIN = ("csf", "grey", "white")

# Brightness on MPRAGE scans of real heads, white matter as 1, and its standard deviation within a tissue; measured on
# twenty heads with label maps (grey, CSF, eye, skin, other soft tissue, dense and spongy bone). The rest follows the
# tissue that it is most like.
MPRAGE: dict[str, tuple[float, float]] = {
    "air": (0.0, 0.0), "skin": (0.71, 0.25), "fat": (0.95, 0.15), "muscle": (0.45, 0.10), "gland": (0.65, 0.10),
    "mucosa": (0.50, 0.10), "bone": (0.12, 0.05), "marrow": (0.59, 0.20), "tooth": (0.05, 0.02), "metal": (0.0, 0.0),
    "csf": (0.28, 0.05), "grey": (0.60, 0.05), "white": (1.00, 0.03), "dura": (0.45, 0.05), "blood": (0.20, 0.08),
    "vitreous": (0.11, 0.03), "lens": (0.35, 0.05), "concretion": (0.15, 0.05), "tumour": (0.48, 0.05),
    "haemorrhage": (1.10, 0.10), "stroke": (0.50, 0.05), "calcification": (0.20, 0.05),
}  # fmt: skip


def spin_echo(tissue: Tissue, tr: float, te: float) -> float:
    """Spin-echo signal PD (1 - exp(-TR/T1)) exp(-TE/T2), times in ms (e.g. Bernstein et al., Handbook of MRI Pulse
    Sequences, 2004)."""
    return tissue.pd * (1 - math.exp(-tr / tissue.t1)) * math.exp(-te / tissue.t2)


def inversion_recovery(tissue: Tissue, tr: float, te: float, ti: float) -> float:
    """Magnitude of PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2): at a long `ti` that of FLAIR, without CSF."""
    regrown = 1 - 2 * math.exp(-ti / tissue.t1) + math.exp(-tr / tissue.t1)
    return tissue.pd * abs(regrown) * math.exp(-te / tissue.t2)
