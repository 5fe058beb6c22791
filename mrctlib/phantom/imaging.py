"""What an MR and a CT scanner make of a head: signal, shading, blur, noise, and the faults that each has of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from scipy import ndimage
from torch import Tensor

from mrctlib.phantom.geometry import Space
from mrctlib.phantom.tissues import MPRAGE, TISSUES, inversion_recovery, spin_echo
from mrctlib.runtime import InputError

CONTRASTS = ("t1w", "mprage", "t2w", "pdw", "flair", "dixon_in", "dixon_out", "dixon_water", "dixon_fat")


@dataclass(frozen=True)
class Scanner:
    """An MR and a CT scanner: sequences, and what each adds to the truth.

    tr, te: times in ms by sequence, and the `ti` of FLAIR, which nulls a fluid of T1 2569 ms; brightness: of each
    tissue on an MPRAGE, white matter as 1;
    bias: relative amplitude of the shading; noise: standard deviation of each channel of the complex MR signal, as a
    share of white matter; blur_mm: standard deviation of the point spread. Strengths from 0 (none): gibbs: share of
    k-space that is cut off, times two; motion: how far the head jerks, in mm; susceptibility: how much signal is lost
    beside air inside the head; chemical_shift_mm: how far fat lands from where it is. ct_noise: standard deviation in
    HU, with the grain of a reconstruction; ct_blur_mm; cupping: HU that beam hardening adds beside thick bone; table:
    whether the couch is in the picture.
    """

    tr: dict[str, float] = field(
        default_factory=lambda: {"t1w": 500.0, "t2w": 4500.0, "pdw": 3000.0, "flair": 9000.0, "dixon": 150.0}
    )
    te: dict[str, float] = field(
        default_factory=lambda: {"t1w": 12.0, "t2w": 100.0, "pdw": 15.0, "flair": 110.0, "dixon": 4.0}
    )
    ti: float = 1700.0
    brightness: dict[str, float] = field(default_factory=lambda: {name: mean for name, (mean, _) in MPRAGE.items()})
    bias: float = 0.12
    noise: float = 0.02
    blur_mm: float = 0.7
    gibbs: float = 0.0
    motion: float = 0.0
    susceptibility: float = 0.5
    chemical_shift_mm: float = 1.0
    ct_noise: float = 6.0
    ct_blur_mm: float = 0.8
    cupping: float = 6.0
    table: bool = True


SCANNERS: dict[str, Scanner] = {
    "a": Scanner(),
    # Longer T1w repetition (flatter contrast), stronger shading, more noise, coarser resolution, stronger faults.
    "b": Scanner(
        tr={"t1w": 900.0, "t2w": 3000.0, "pdw": 2200.0, "flair": 9000.0, "dixon": 220.0},
        te={"t1w": 20.0, "t2w": 80.0, "pdw": 25.0, "flair": 90.0, "dixon": 4.0},
        bias=0.30,
        noise=0.05,
        blur_mm=1.4,
        gibbs=0.3,
        susceptibility=1.0,
        chemical_shift_mm=2.0,
        ct_noise=12.0,
        ct_blur_mm=1.2,
    ),
}


def scanner_of(scanner: str | Scanner) -> Scanner:
    """A scanner by its name in `SCANNERS`, or the one that is given.

    Raises:
        InputError: an unknown name.
    """
    if isinstance(scanner, Scanner):
        return scanner
    if scanner not in SCANNERS:
        raise InputError(f"scanner {scanner!r}: choose one of {', '.join(SCANNERS)}")
    return SCANNERS[scanner]


def noise_floor_hu(scanner: str | Scanner = "a") -> float:
    """Mean absolute error in HU of a prediction that knows all of the patient but not the noise: sigma sqrt(2/pi)."""
    return scanner_of(scanner).ct_noise * math.sqrt(2 / math.pi)


def mr_image(
    fractions: dict[str, Tensor], body: Tensor, space: Space, contrast: str, scanner: Scanner,
    generator: torch.Generator, enhanced: bool = False,
) -> Tensor:  # fmt: skip
    """The MR image of tissue shares, (R, A, S), white matter near 1000. For `contrast` see `CONTRASTS`.

    Rician noise: the magnitude of a complex signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995).
    The four Dixon images come from one pair of echoes, in and out of phase (Dixon 1984): the same shading, the same
    noise; water is half their sum and fat half their difference, with their sign, as after phase correction.
    """
    sequence = contrast.split("_")[0]
    signals = _signals(sequence, scanner)
    if enhanced and sequence in ("t1w", "mprage"):  # contrast agent shortens T1 where it goes: blood, mucosa, tumour
        signals |= {"blood": 1.5 * signals["white"], "mucosa": 1.3 * signals["white"], "tumour": 1.3 * signals["white"]}
    fat = _mixed({n: s * TISSUES[n].fat for n, s in signals.items()}, fractions)
    water = _mixed({n: s * (1 - TISSUES[n].fat) for n, s in signals.items()}, fractions)
    shading = torch.exp(scanner.bias * space.smooth_noise(generator, wavelength_mm=260, waves=12)) / signals["white"]
    if scanner.susceptibility:
        cavities = blurred((fractions["air"] * body).float(), 4.0, space.spacing)
        shading = shading * torch.exp(-3 * scanner.susceptibility * cavities)
    if scanner.chemical_shift_mm:
        fat = _shifted(fat, scanner.chemical_shift_mm / space.spacing[0])
    # The phase of a plain spin echo is refocused, so fat and water add; out of phase they cancel.
    echoes = [(water + fat) * shading] if sequence != "dixon" else [(water + fat) * shading, (water - fat) * shading]
    seen = []
    for echo in echoes:
        echo = _k_space(blurred(echo, scanner.blur_mm, space.spacing), space, scanner, generator)
        real, imaginary = scanner.noise * torch.randn(2, *echo.shape, generator=generator)
        seen.append(torch.complex(echo + real, imaginary))
    combine = {"dixon_out": (0.0, 1.0), "dixon_water": (0.5, 0.5), "dixon_fat": (0.5, -0.5)}.get(contrast, (1.0,))
    return 1000 * sum(weight * echo for weight, echo in zip(combine, seen, strict=False) if weight).abs()


def _signals(sequence: str, scanner: Scanner) -> dict[str, float]:
    if sequence == "mprage":
        return dict(scanner.brightness)
    tr, te = scanner.tr[sequence], scanner.te[sequence]
    if sequence == "flair":
        return {name: inversion_recovery(tissue, tr, te, scanner.ti) for name, tissue in TISSUES.items()}
    return {name: spin_echo(tissue, tr, te) for name, tissue in TISSUES.items()}


def _mixed(values: dict[str, float], fractions: dict[str, Tensor]) -> Tensor:
    total = torch.zeros_like(next(iter(fractions.values())))
    for name, share in fractions.items():
        if values[name]:
            total.add_(share, alpha=values[name])
    return total


def _shifted(image: Tensor, voxels: float) -> Tensor:
    """Moved along the first axis, interpolated linearly; what enters is as at the border."""
    last = len(image) - 1
    at = (torch.arange(len(image)) - voxels).clamp(0, last)
    low = at.floor().long()
    return torch.lerp(image[low], image[(low + 1).clamp(max=last)], (at - low)[:, None, None])


def _k_space(image: Tensor, space: Space, scanner: Scanner, generator: torch.Generator) -> Tensor:
    """What the finite and disturbed scan of k-space along the phase direction (y) leaves: ringing, ghosts."""
    if not scanner.gibbs and not scanner.motion:
        return image
    lines = image.shape[1]
    spectrum = torch.fft.rfft(image, dim=1)
    frequency = torch.arange(spectrum.shape[1])[None, :, None] / lines  # cycles per voxel
    if scanner.motion:  # the head lies elsewhere while some stretches of the lines are read
        jerk = torch.randn(8, generator=generator).repeat_interleave(-(-spectrum.shape[1] // 8))[: spectrum.shape[1]]
        jerk[: spectrum.shape[1] // 16] = 0
        voxels = jerk[None, :, None] * scanner.motion / space.spacing[1]
        spectrum = spectrum * torch.exp(-2j * math.pi * frequency * voxels)
    return torch.fft.irfft(spectrum * (frequency <= 0.5 - 0.25 * scanner.gibbs), n=lines, dim=1)


def ct_image(
    fractions: dict[str, Tensor], body: Tensor, space: Space, scanner: Scanner, hu: dict[str, float],
    generator: torch.Generator | None,
) -> Tensor:  # fmt: skip
    """The CT image of tissue shares in HU, (R, A, S); without a generator it has no noise."""
    above_air = _mixed({name: value + 1000 for name, value in hu.items()}, fractions)
    image = blurred(above_air, scanner.ct_blur_mm, space.spacing)
    if scanner.cupping:
        image = image + scanner.cupping * body * (3 * blurred(fractions["bone"], 12.0, space.spacing)).clamp(max=2)
    if fractions["metal"].any():
        image = image + _streaks(fractions["metal"], space)
    if scanner.table:
        image = torch.maximum(image, _table(body, space))
    if generator is not None:
        image = image + scanner.ct_noise * grain(image.shape, space.spacing, generator)
    return (image - 1000).clamp(min=-1024)


def grain(shape: Sequence[int], spacing: Sequence[float], generator: torch.Generator) -> Tensor:
    """Noise with the correlation of a reconstruction, standard deviation 1: a band of frequencies in the plane.

    Filtered back-projection lets noise grow with frequency up to where its kernel ends, so neighbours are alike and
    large patches average out. On a grid too coarse to hold the band it is white.
    """
    noise = torch.randn(tuple(shape), generator=generator)
    plane = (*spacing[:2], math.inf)
    band = blurred(noise, 0.7, plane) - 0.7 * blurred(noise, 1.6, plane)
    return band / band[:, :, : max(1, shape[2] // 8)].std()


def _streaks(metal: Tensor, space: Space) -> Tensor:
    """Bright and dark rays from metal, in each axial slice that holds some."""
    streaks = torch.zeros(space.shape)
    for at in torch.nonzero(metal.amax((0, 1)) > 0.05).flatten().tolist():
        weight = metal[:, :, at]
        x, y = space.x[:, :, 0].abs(), space.y[:, :, 0]  # the fillings come in pairs
        x, y = (axis - float((weight * axis).sum() / weight.sum()) for axis in (x, y))
        rays = torch.cos(9 * torch.atan2(y, x)) / (1 + x.hypot(y) / 12)
        streaks[:, :, at] = 500 * min(1.0, float(weight.sum()) / 4) * rays
    return streaks


def _table(body: Tensor, space: Space) -> Tensor:
    """A curved couch behind the head, CT numbers above air's (1000 is water): two thin shells about foam."""
    columns = torch.nonzero(body.any(2).any(0)).flatten()
    back = float(space.axes[1][columns[0]]) if len(columns) else 0.0
    depth = back - 6 + (space.x / 26).square() - space.y  # mm into the couch
    shell = ((depth > 0) & (depth < 2.5)) | ((depth > 22) & (depth < 24.5))
    foam = (depth >= 2.5) & (depth <= 22)
    flat = (550.0 * shell + 60.0 * foam) * (space.x.abs() < 110)
    return (flat * ~body).expand(space.shape)


def blurred(image: Tensor, sigma_mm: float, spacing: Sequence[float]) -> Tensor:
    """Gaussian point spread with a standard deviation of `sigma_mm` along each axis."""
    result = image.numpy()
    for axis, size in enumerate(spacing):
        if sigma_mm / size > 0.05:
            result = ndimage.gaussian_filter1d(result, sigma_mm / size, axis=axis, mode="nearest", truncate=3)
    return torch.from_numpy(result)


@dataclass(frozen=True)
class Variation:
    """Ranges from which each patient's head, scanners and processing are drawn anew, so that what is learned holds
    elsewhere. Pairs are the least and the most of a uniform draw.

    size: factor on the head; skull, scalp_fat: mean thickness in mm; nod: about the ears, in radians; bone: factor on
    the HU of bone and marrow (an average over people lowers it); cut: share of the height, from below, that the mask
    leaves out; edge: share of a voxel, after the blur of the CT, that must be body for the mask to hold it;
    brightness: standard deviation of the logarithm of each tissue's MPRAGE brightness; the rest as in `Scanner`. Wider
    than a clinic's, after trials with a paired network on label maps of real heads.
    """

    size: tuple[float, float] = (0.95, 1.12)
    skull: tuple[float, float] = (4.5, 9.0)
    scalp_fat: tuple[float, float] = (3.0, 10.0)
    nod: tuple[float, float] = (-0.2, 0.2)
    bone: tuple[float, float] = (0.5, 1.0)
    cut: tuple[float, float] = (0.0, 0.35)
    edge: tuple[float, float] = (0.6, 0.9)
    brightness: float = 0.15
    blur_mm: tuple[float, float] = (0.5, 3.0)
    ct_blur_mm: tuple[float, float] = (0.8, 4.5)
    bias: tuple[float, float] = (0.0, 0.25)
    noise: tuple[float, float] = (0.005, 0.04)
    gibbs: tuple[float, float] = (0.0, 0.3)
    ct_noise: tuple[float, float] = (4.0, 15.0)

    def draw(self, generator: torch.Generator) -> tuple[dict[str, float], Scanner]:
        """(size, skull, scalp_fat, nod, bone, cut and edge of one patient; the scanner that sees it)."""
        drawn = {}
        for name, limits in asdict(self).items():
            if name != "brightness":
                drawn[name] = limits[0] + (limits[1] - limits[0]) * float(torch.rand(1, generator=generator))
        person = {name: drawn.pop(name) for name in ("size", "skull", "scalp_fat", "nod", "bone", "cut", "edge")}
        factors = torch.exp(self.brightness * torch.randn(len(MPRAGE), generator=generator)).tolist()
        brightness = {name: mean * f for (name, (mean, _)), f in zip(MPRAGE.items(), factors, strict=True)}
        return person, Scanner(brightness=brightness | {"white": 1.0}, **drawn)
