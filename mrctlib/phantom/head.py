"""A procedural head: anatomy drawn anew for every (seed, case), seen by an MR and a CT scanner.

The head is described in millimetres, so the same patient can be drawn on any grid. Each structure is a signed distance
(negative inside), painted front to back: what is painted first hides what comes after, and the part of a voxel that
is not yet covered goes to the next structure. This gives every voxel its tissue fractions, hence partial volume.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrctlib.data.volumes import Volume, write_volume
from mrctlib.phantom import anatomy
from mrctlib.phantom.geometry import Brush, Space
from mrctlib.phantom.imaging import (
    CONTRASTS,
    Scanner,
    Variation,
    blurred,
    ct_image,
    mr_image,
    noise_floor_hu,
    scanner_of,
)
from mrctlib.phantom.tissues import BRAIN, LESIONS, TISSUES
from mrctlib.runtime import InputError, derive_seed, progress, refuse_existing, whole_folder

MANIFEST = "cohort.json"
RADII_MM = {"tumour": (9.0, 15.0), "haemorrhage": (9.0, 15.0), "stroke": (12.0, 20.0), "calcification": (3.5, 6.0)}


@dataclass(frozen=True)
class Patient:
    """One head: the share of each tissue in each voxel, and what a scanner makes of it.

    fractions: tissue name -> (R, A, S) float32, summing to 1; space: its grid; body: boolean mask, air cavities
    included; lesion: boolean mask of the lesion (empty without one); ventricles: the share of each voxel that lies in
    the ventricles (a part of the CSF); hu: Hounsfield units of this patient's tissues; scanner: where this patient is
    seen if nothing else is asked for; enhanced: whether a contrast agent was given.
    """

    seed: int
    case: int
    fractions: dict[str, Tensor]
    space: Space
    body: np.ndarray
    lesion: np.ndarray
    ventricles: Tensor
    hu: dict[str, float]
    scanner: Scanner
    enhanced: bool = False

    def mr(self, contrast: str = "t1w", scanner: str | Scanner | None = None) -> np.ndarray:
        """The MR image, (R, A, S) float32, white matter near 1000; see `imaging.mr_image`.

        Raises:
            InputError: an unknown contrast or scanner.
        """
        if contrast not in CONTRASTS:
            raise InputError(f"contrast {contrast!r}: choose one of {', '.join(CONTRASTS)}")
        # One bias field and one noise pattern for each patient and sequence, whatever else is asked for.
        generator = self._generator("mr", contrast.split("_")[0])
        body, scanner = torch.from_numpy(self.body), scanner_of(scanner or self.scanner)
        return mr_image(self.fractions, body, self.space, contrast, scanner, generator, self.enhanced).numpy()

    def ct(self, scanner: str | Scanner | None = None, *, noisy: bool = True) -> np.ndarray:
        """The CT image in HU, (R, A, S) float32.

        noisy=False leaves out the noise, and with it the floor that no prediction can go under (`noise_floor_hu`).
        """
        body, scanner = torch.from_numpy(self.body), scanner_of(scanner or self.scanner)
        generator = self._generator("ct") if noisy else None
        return ct_image(self.fractions, body, self.space, scanner, self.hu, generator).numpy()

    def labels(self, names: Sequence[str] = BRAIN) -> np.ndarray:
        """Tissue map, (R, A, S) uint8: 1 + index into `names` of the largest share, 0 where that is another tissue."""
        largest = torch.zeros(self.space.shape)
        labels = torch.zeros(self.space.shape, dtype=torch.uint8)
        for number, name in enumerate([*names, *(n for n in self.fractions if n not in names)], start=1):
            share = self.fractions[name]
            labels.masked_fill_(share > largest, number if number <= len(names) else 0)
            largest = torch.maximum(largest, share)
        return labels.numpy()

    def _generator(self, *parts: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, self.case, *parts))


def draw_patient(
    seed: int,
    case: int,
    shape: Sequence[int] = (128, 128, 96),
    *,
    lesion: str | None = None,
    atrophy: float = 0.0,
    age: float = 55.0,
    fillings: bool = False,
    contrast_agent: bool = False,
    scanner: str | Scanner = "a",
    variation: Variation | None = None,
) -> Patient:
    """Draw one patient on a grid of `shape` voxels over 256 x 256 x 192 mm; the same (seed, case) is the same person.

    lesion: None, or one of `LESIONS`, put somewhere into the brain. atrophy: how much brain is lost, 0 (healthy) to 1
    (severe): the ventricles and the sulci of the same person are wider, the skull stays as it is. age: in years.
    fillings: of metal, in four teeth, with their streaks on CT. contrast_agent: brightens vessels, mucosa and tumours.
    scanner: where the patient is seen. variation: draw scanner and anatomy from these ranges instead.

    Raises:
        InputError: an unknown lesion, an atrophy outside 0 to 1, or a grid too coarse to show a head.
    """
    if not 0 <= atrophy <= 1:
        raise InputError(f"atrophy {atrophy}: give a number from 0 (healthy) to 1 (severe)")
    if not 18 <= age <= 100:
        raise InputError(f"age {age}: heads are drawn from 18 to 100 years")
    if lesion not in (None, *LESIONS):
        raise InputError(f"lesion {lesion!r}: choose one of {', '.join(LESIONS)}, or none")
    if len(shape) != 3 or min(shape) < 16:
        raise InputError(f"shape {tuple(shape)}: a head needs three axes of at least 16 voxels")
    space = Space(shape)
    person = anatomy.Person(derive_seed(seed, case, "anatomy"), space, age=age)
    person.lose_brain(atrophy)
    seen, bone, cut, edge = scanner_of(scanner), 1.0, 0.0, None
    if variation:
        drawn, seen = variation.draw(torch.Generator().manual_seed(derive_seed(seed, case, "variation")))
        bone, cut, edge = (drawn.pop(name) for name in ("bone", "cut", "edge"))
        person.size *= drawn.pop("size")
        vars(person).update(drawn)
    p = person.place()
    cranium = anatomy.cranium_of(person, p)
    brush = Brush(space)
    if lesion:
        brush.paint(lesion, person.lesion(p, RADII_MM[lesion]))
    lesion_mask = brush.remaining < 0.5
    anatomy.paint_base(brush, person, p)
    ventricles = anatomy.paint_brain(brush, person, p, cranium)
    anatomy.paint_face(brush, person, p, fillings=fillings)
    outer = anatomy.paint_skull(brush, person, p, cranium)
    head = anatomy.paint_soft_tissue(brush, person, p, outer)
    brush.paint("air", torch.full(space.shape, -brush.edge))
    body = head < 0
    if edge:
        body = blurred(body.float(), seen.ct_blur_mm, space.spacing) > edge
    body[:, :, : round(cut * space.shape[2])] = False
    hu = {name: tissue.hu for name, tissue in TISSUES.items()}
    hu |= {"bone": bone * person.bone_hu, "marrow": bone * hu["marrow"]}
    if contrast_agent:
        hu |= {"blood": 220.0, "mucosa": 80.0, "tumour": 75.0}
    for tissue in TISSUES:
        brush.fractions.setdefault(tissue, torch.zeros(1).expand(space.shape))
    return Patient(
        seed, case, brush.fractions, space, body.numpy(), lesion_mask.numpy(), ventricles, hu, seen, contrast_agent
    )


def write_cohort(
    folder: str | Path, cases: int, seed: int = 0, *, shape: Sequence[int] = (128, 128, 96), contrast: str = "t1w",
    scanner: str = "a", lesion: str | None = None, vary: bool = False, force: bool = False,
) -> Path:  # fmt: skip
    """Write `cases` phantom patients as a cohort: CASE/mr.nii.gz, ct.nii.gz, mask.nii.gz (and lesion.nii.gz).

    `cohort.json` beside them says what they are and gives their noise floor. The folder appears when all is written.

    Raises:
        InputError: the folder exists (with `force` only an earlier phantom cohort is replaced), a bad argument, or
            the disk refused the bytes.
    """
    folder = Path(folder)
    if cases < 1:
        raise InputError(f"cases is {cases}: a cohort has at least one")
    refuse_existing(folder, force=force)
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if other := [name for name in there if name != MANIFEST and not name.startswith("phantom_")]:
        raise InputError(f"{folder}: is no phantom cohort (it holds {other[0]}), so it is not replaced; name another")
    variation, floors = Variation() if vary else None, []
    with whole_folder(folder) as staging:
        for case in progress(range(cases), "drawing patients", unit="case"):
            patient = draw_patient(seed, case, shape, lesion=lesion, scanner=scanner, variation=variation)
            _write_case(staging / f"phantom_{seed}_{case:03d}", patient, contrast)
            floors.append(noise_floor_hu(patient.scanner))
        about = {"data": "phantom", "seed": seed, "cases": cases, "shape": list(shape), "contrast": contrast}
        about |= {"scanner": asdict(scanner_of(scanner)), "lesion": lesion, "noise_floor_hu": sum(floors) / cases}
        if variation:
            about |= {"variation": asdict(variation)}
        (staging / MANIFEST).write_text(json.dumps(about, indent=2) + "\n")
    return folder


def _write_case(folder: Path, patient: Patient, contrast: str) -> None:
    folder.mkdir(parents=True)
    images = {"mr": patient.mr(contrast), "ct": patient.ct(), "mask": patient.body}
    if patient.lesion.any():
        images["lesion"] = patient.lesion
    for name, image in images.items():
        write_volume(Volume(image, patient.space.affine), folder / f"{name}.nii.gz")
