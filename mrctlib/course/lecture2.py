"""A procedural electrocardiogram (ECG): one lead, drawn anew for every (seed, index).

Every wave of a beat is a Gaussian bump, the idea of McSharry et al. (IEEE Trans Biomed Eng 50:289, 2003), who let a
dynamical system run round a circle past five of them. Here the beats are simply placed in time and their bumps added
up. Heights and widths are set to look as in lead II of a textbook; they are not fitted to patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import find_peaks
from torch import Tensor

from mrctlib.runtime import InputError, derive_seed

RHYTHMS = ("sinus", "atrial fibrillation", "ventricular beats")
DIRECTIONS = ("inverted", "upright")

# A row for each wave: height (mV), centre after the R peak (s), standard deviation (s).
SINUS_BEAT = {
    "P": (0.15, -0.17, 0.022),
    "Q": (-0.10, -0.030, 0.009),
    "R": (1.00, 0.000, 0.011),
    "S": (-0.22, 0.030, 0.010),
    "T": (0.30, 0.270, 0.045),
}
# It starts in the muscle of a ventricle and not in the conducting fibres: no P, a QRS over 120 ms wide, and a T wave
# that points the other way.
VENTRICULAR_BEAT = {"R": (1.30, 0.000, 0.038), "T": (-0.45, 0.270, 0.050)}

CLUE_SECONDS = 1.0
"""In the recall task, what tells the classes apart lies before this time."""


@dataclass(frozen=True)
class Ecg:
    """One recording.

    signal: (samples,) float32, in mV; rate: samples a second, in Hz; r_peaks: (beats,) in s, those inside the
    recording; ventricular: (beats,) whether each of them is a premature ventricular beat.
    """

    signal: np.ndarray
    rate: float
    r_peaks: np.ndarray
    ventricular: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """(samples,) in s."""
        return np.arange(len(self.signal)) / self.rate


class _Beats(NamedTuple):
    """R peaks in s (some before the start and after the end), and +1 or -1 where a beat is ventricular, else 0."""

    peaks: np.ndarray
    ventricular: np.ndarray


def draw_ecg(
    rhythm: str,
    seed: int,
    index: int,
    *,
    seconds: float = 8.0,
    rate: float = 100.0,
    heart_rate: float | None = None,
    noise: float = 0.03,
) -> Ecg:
    """A recording of one of the `RHYTHMS`.

    Sinus rhythm quickens and slows with the breath. Atrial fibrillation has no P wave, a trembling baseline (4 to 8 Hz)
    and intervals that differ irregularly. Ventricular beats are one to three premature, wide beats within sinus rhythm,
    each followed by a full compensatory pause.

    Args:
        seconds, rate: length in s and sampling rate in Hz.
        heart_rate: beats a minute; by default drawn from 55 to 95.
        noise: standard deviation in mV.

    Raises:
        InputError: no such rhythm, or a length, rate or noise that makes no sense.
    """
    if rhythm not in RHYTHMS:
        raise InputError(f"there is no rhythm {rhythm!r}: choose one of {', '.join(RHYTHMS)}")
    rng = np.random.default_rng(derive_seed(seed, index, "ecg"))
    heart_rate = heart_rate if heart_rate is not None else rng.uniform(55, 95)
    _refuse_nonsense(seconds, rate, heart_rate, noise)
    fibrillates = rhythm == "atrial fibrillation"
    beats = (_fibrillating_beats if fibrillates else _sinus_beats)(rng, seconds, heart_rate)
    if rhythm == "ventricular beats":
        beats = _with_ventricular(rng, beats, seconds)
    return _record(rng, beats, seconds, rate, noise, fibrillates)


def draw_recall(direction: str, seed: int, index: int, *, seconds: float = 8.0, rate: float = 100.0) -> Ecg:
    """A recording that starts with one ventricular beat, `upright` or `inverted`; then sinus rhythm to the end.

    In lead II, a beat that starts at the top of the ventricles runs towards the electrode and is upright; one from the
    bottom runs away from it and is inverted (de Riva et al., Circ Arrhythm Electrophysiol 8, 2015: the axis of beats
    from the upper and the lower ventricles). For one (seed, index) the two differ in the first `CLUE_SECONDS` alone.

    Raises:
        InputError: no such direction, or a length or rate that makes no sense.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"there is no direction {direction!r}: choose one of {', '.join(DIRECTIONS)}")
    _refuse_nonsense(seconds, rate)
    rng = np.random.default_rng(derive_seed(seed, index, "recall"))
    beats = _premature(rng, _sinus_beats(rng, seconds, rng.uniform(55, 95)), 2, 1 if direction == "upright" else -1)
    beats = beats._replace(peaks=beats.peaks - beats.peaks[2] + rng.uniform(0.25, 0.45))
    return _record(rng, beats, seconds, rate)


def rhythm_set(count: int, seed: int, *, seconds: float = 8.0, rate: float = 100.0) -> tuple[Tensor, Tensor]:
    """(count, samples, 1) float32 in mV and (count,) classes, places in `RHYTHMS`, as many of each as can be."""
    return _labelled_set(draw_ecg, RHYTHMS, count, seed, seconds, rate)


def recall_set(count: int, seed: int, *, seconds: float = 8.0, rate: float = 100.0) -> tuple[Tensor, Tensor]:
    """(count, samples, 1) float32 in mV and (count,) classes, places in `DIRECTIONS`, as many of each as can be."""
    return _labelled_set(draw_recall, DIRECTIONS, count, seed, seconds, rate)


def in_frames(signals: Tensor, size: int) -> Tensor:
    """(N, samples, 1) to (N, samples // size, size): each step of a network then reads `size` samples at once.

    Raises:
        InputError: the length is no multiple of `size`.
    """
    if signals.shape[1] % size:
        raise InputError(f"{signals.shape[1]} samples cannot be cut into frames of {size}: choose a divisor")
    return signals.reshape(len(signals), -1, size)


def find_r_peaks(signal: np.ndarray, rate: float) -> np.ndarray:
    """Times of the beats in s, found where the signal is steep: slope, square, mean over 0.12 s, peaks.

    The recipe of Pan and Tompkins (IEEE Trans Biomed Eng 32:230, 1985) in its simplest form.
    """
    slope = np.gradient(gaussian_filter1d(signal, 0.012 * rate))
    energy = uniform_filter1d(slope**2, max(1, round(0.12 * rate)))
    places, _ = find_peaks(energy, height=0.12 * energy.max(), distance=max(1, round(0.28 * rate)))
    return places / rate


def rr_variability(signal: np.ndarray, rate: float) -> float:
    """Standard deviation of the intervals between R peaks, as a share of their mean: the hand-made feature."""
    intervals = np.diff(find_r_peaks(signal, rate))
    return float(intervals.std() / intervals.mean()) if len(intervals) else 0.0


# ---------------------------------------------------------------------------------------------------- beats in time


def _sinus_beats(rng: np.random.Generator, seconds: float, heart_rate: float) -> _Beats:
    mean = 60 / heart_rate
    beat = np.arange(_beats_to_draw(seconds, mean))
    breath = 0.04 * np.sin(2 * np.pi * 0.25 * mean * beat + rng.uniform(0, 2 * np.pi))  # 15 breaths a minute
    return _started(rng, mean * (1 + breath + 0.02 * rng.standard_normal(len(beat))))


def _fibrillating_beats(rng: np.random.Generator, seconds: float, heart_rate: float) -> _Beats:
    """Independent intervals of 22 % standard deviation, none under the 0.3 s for which the AV node is deaf."""
    mean = 60 / heart_rate
    spread = rng.standard_normal(_beats_to_draw(seconds, mean))
    return _started(rng, np.maximum(mean * (1 + 0.22 * spread), 0.3))


def _beats_to_draw(seconds: float, mean: float) -> int:
    return int(1.3 * (seconds + 4) / mean) + 4


def _started(rng: np.random.Generator, intervals: np.ndarray) -> _Beats:
    """Beats from 2 s before the start on, so that the first wave seen may belong to a beat that is not."""
    return _Beats(rng.uniform(0, intervals[0]) - 2 + np.cumsum(intervals), np.zeros(len(intervals), int))


def _premature(rng: np.random.Generator, beats: _Beats, at: int, direction: int) -> _Beats:
    """Beat `at` comes early and from a ventricle. The next keeps its time: the sinus node has noticed nothing."""
    peaks, ventricular = beats.peaks.copy(), beats.ventricular.copy()
    peaks[at] = peaks[at - 1] + rng.uniform(0.55, 0.7) * (peaks[at] - peaks[at - 1])
    ventricular[at] = direction
    return _Beats(peaks, ventricular)


def _with_ventricular(rng: np.random.Generator, beats: _Beats, seconds: float) -> _Beats:
    """One to three ventricular beats among those inside the recording, with a sinus beat between any two."""
    inside = np.flatnonzero((beats.peaks > 0.5) & (beats.peaks < seconds - 0.5))
    chosen = rng.permutation(inside[rng.integers(2) :: 2])[: rng.integers(1, 4)]
    for at in chosen:
        beats = _premature(rng, beats, at, rng.choice((-1, 1)))
    return beats


# ---------------------------------------------------------------------------------------------------- from beats to mV


def _record(
    rng: np.random.Generator,
    beats: _Beats,
    seconds: float,
    rate: float,
    noise: float = 0.03,
    fibrillates: bool = False,
) -> Ecg:
    """All waves added up, on a baseline that wanders with the breath, with white noise."""
    times = np.arange(round(seconds * rate)) / rate
    waves = [_sinus_waves(rng, beats, fibrillates), _ventricular_waves(rng, beats)]
    height, centre, width = (np.concatenate(column).astype(np.float32)[:, None] for column in zip(*waves, strict=True))
    bumps = np.exp(-0.5 * ((times.astype(np.float32) - centre) / width) ** 2)
    signal = (height * bumps).sum(0, dtype=np.float64)
    signal += rng.uniform(0.02, 0.1) * np.sin(2 * np.pi * (rng.uniform(0.15, 0.35) * times + rng.uniform()))
    if fibrillates:
        signal += _trembling(rng, times)
    signal += noise * rng.standard_normal(len(times))
    inside = (beats.peaks >= 0) & (beats.peaks < seconds)
    return Ecg(signal.astype(np.float32), rate, beats.peaks[inside], beats.ventricular[inside] != 0)


def _sinus_waves(rng: np.random.Generator, beats: _Beats, fibrillates: bool) -> tuple[np.ndarray, ...]:
    """(waves,) each of heights in mV, centres in s and widths in s; a person's own heights, one for each wave."""
    waves = np.array([wave for name, wave in SINUS_BEAT.items() if not (name == "P" and fibrillates)])
    waves[:, 0] *= 1 + 0.15 * rng.standard_normal(len(waves))
    peaks = beats.peaks[beats.ventricular == 0, None]
    centre = np.tile(waves[:, 1], (len(peaks), 1))
    # The T wave follows sooner when the heart is quick: with the square root of the interval (Bazett 1920).
    centre[:, -1] *= np.sqrt(np.diff(beats.peaks).mean())
    height, width = (np.tile(waves[:, column], (len(peaks), 1)) for column in (0, 2))
    return height.ravel(), (peaks + centre).ravel(), width.ravel()


def _ventricular_waves(rng: np.random.Generator, beats: _Beats) -> tuple[np.ndarray, ...]:
    """As `_sinus_waves`; the sign of the heights is that of `ventricular`."""
    waves = np.array(list(VENTRICULAR_BEAT.values()))
    waves[:, 0] *= 1 + 0.15 * rng.standard_normal(len(waves))
    found = beats.ventricular != 0
    height = beats.ventricular[found, None] * waves[:, 0]
    centre = beats.peaks[found, None] + waves[:, 1]
    return height.ravel(), centre.ravel(), np.broadcast_to(waves[:, 2], height.shape).ravel()


def _trembling(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Fibrillatory waves: a few sines of 4 to 8 Hz that drift in and out of step."""
    frequency, phase = rng.uniform(4, 8, (4, 1)), rng.uniform(size=(4, 1))
    return rng.uniform(0.02, 0.05) * np.sin(2 * np.pi * (frequency * times + phase)).sum(0)


# ---------------------------------------------------------------------------------------------------- many at once


def _labelled_set(
    draw: Callable[..., Ecg], names: Sequence[str], count: int, seed: int, seconds: float, rate: float
) -> tuple[Tensor, Tensor]:
    classes = np.random.default_rng(derive_seed(seed, "classes")).permutation(count) % len(names)
    drawn = [draw(names[c], seed, index, seconds=seconds, rate=rate).signal for index, c in enumerate(classes)]
    if not drawn:
        raise InputError(f"{count} recordings: ask for at least one")
    return torch.from_numpy(np.stack(drawn))[..., None], torch.from_numpy(classes)


def _refuse_nonsense(seconds: float, rate: float, heart_rate: float = 60.0, noise: float = 0.0) -> None:
    if not (seconds >= 2 and rate >= 20):
        raise InputError(f"{seconds} s at {rate} Hz: a recording needs at least 2 s and 20 Hz")
    if not (30 <= heart_rate <= 180):
        raise InputError(f"a heart rate of {heart_rate} a minute: choose 30 to 180")
    if not noise >= 0:
        raise InputError(f"noise of {noise} mV: choose 0 or more")
