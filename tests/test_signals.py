"""The drawn ECG: rhythms are what they claim, and the recall task can be solved from its first second alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mrctlib.course.lecture2 import (
    CLUE_SECONDS,
    DIRECTIONS,
    RHYTHMS,
    draw_ecg,
    draw_recall,
    find_r_peaks,
    in_frames,
    recall_set,
    rhythm_set,
    rr_variability,
)
from mrctlib.runtime import InputError


def at_peaks(ecg, shift, half=2):
    """Mean signal in mV around a time after each normal R peak, for peaks whose neighbourhood is recorded."""
    middle = np.round((ecg.r_peaks[~ecg.ventricular] + shift) * ecg.rate).astype(int)
    middle = middle[(middle > half) & (middle < len(ecg.signal) - half)]
    return np.mean([ecg.signal[m - half : m + half + 1].mean() for m in middle])


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_every_draw_is_its_own_and_comes_again(rhythm):
    one, again, other = (draw_ecg(rhythm, 3, index).signal for index in (0, 0, 1))
    assert one.dtype == np.float32 and one.shape == (800,)
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, draw_ecg(rhythm, 4, 0).signal)


@pytest.mark.parametrize("rate", [100.0, 250.0])
@pytest.mark.parametrize("pulse", [50, 120])
def test_the_heart_rate_is_kept(rate, pulse):
    ecg = draw_ecg("sinus", 0, 0, seconds=20, rate=rate, heart_rate=pulse)
    assert len(ecg.signal) == len(ecg.times) == 20 * rate
    assert 60 / np.diff(ecg.r_peaks).mean() == pytest.approx(pulse, rel=0.05)


def test_peaks_are_where_the_signal_is_high():
    ecg = draw_ecg("sinus", 0, 2, rate=500)
    assert at_peaks(ecg, 0.0) > 0.5
    assert at_peaks(ecg, 0.0) > 2 * at_peaks(ecg, 0.27)  # R above T


def test_fibrillation_has_no_p_wave_and_irregular_beats():
    p_wave, spread = {}, {}
    for rhythm in ("sinus", "atrial fibrillation"):
        ecgs = [draw_ecg(rhythm, 1, i, seconds=20) for i in range(10)]
        p_wave[rhythm] = np.mean([at_peaks(e, -0.17) - at_peaks(e, -0.08) for e in ecgs])
        spread[rhythm] = [np.diff(e.r_peaks).std() / np.diff(e.r_peaks).mean() for e in ecgs]
    assert p_wave["sinus"] > 0.08 and abs(p_wave["atrial fibrillation"]) < 0.04
    assert max(spread["sinus"]) < 0.08 < 0.12 < min(spread["atrial fibrillation"])


def test_a_ventricular_beat_is_early_wide_and_followed_by_a_full_pause():
    found = 0
    for index in range(20):
        ecg = draw_ecg("ventricular beats", 2, index, noise=0, heart_rate=70)
        assert 1 <= ecg.ventricular.sum() <= 3
        mean = 60 / 70
        for at in np.flatnonzero(ecg.ventricular):
            middle = round(ecg.r_peaks[at] * ecg.rate)
            beat = np.abs(ecg.signal[max(middle - 20, 0) : middle + 20])
            wide = (beat > 0.5 * beat.max()).sum() / ecg.rate
            assert 0.06 < wide < 0.13  # full width at half height; a normal R has 0.026 s
            if 0 < at < len(ecg.r_peaks) - 1:
                before, after = ecg.r_peaks[at] - ecg.r_peaks[at - 1], ecg.r_peaks[at + 1] - ecg.r_peaks[at]
                assert before < 0.75 * mean < 1.2 * mean < after
                assert before + after == pytest.approx(2 * mean, rel=0.1)
                found += 1
    assert found > 15


def test_beats_are_found_without_being_told():
    missed = wrong = total = 0
    for rhythm in RHYTHMS:
        for index in range(30):
            ecg = draw_ecg(rhythm, 5, index)
            true = ecg.r_peaks[(ecg.r_peaks > 0.1) & (ecg.r_peaks < 7.9)]
            found = find_r_peaks(ecg.signal, ecg.rate)
            distance = np.abs(found[:, None] - ecg.r_peaks)
            missed += (np.abs(true[:, None] - found).min(1) > 0.1).sum()
            wrong += (distance.min(1) > 0.1).sum()
            total += len(true)
    assert missed < 0.03 * total and wrong < 0.03 * total
    assert rr_variability(draw_ecg("sinus", 0, 0).signal, 100) < 0.08
    assert rr_variability(draw_ecg("atrial fibrillation", 0, 0).signal, 100) > 0.1
    assert rr_variability(np.zeros(800, np.float32), 100) == 0


def test_the_clue_is_in_the_first_second_and_nowhere_else():
    for index in range(50):
        inverted, upright = (draw_recall(direction, 7, index) for direction in DIRECTIONS)
        differs = np.abs(upright.signal - inverted.signal)
        assert differs[:100].max() > 1.0  # mV
        assert differs[round(CLUE_SECONDS * 100) :].max() < 1e-5
        assert np.array_equal(upright.r_peaks, inverted.r_peaks)
        assert upright.ventricular.sum() == 1 and np.array_equal(upright.ventricular, inverted.ventricular)
        first = round(float(upright.r_peaks[upright.ventricular][0]) * 100)
        assert upright.signal[first] > 0.5 and inverted.signal[first] < -0.5


def test_who_misses_the_first_second_can_only_guess():
    (x, y), (new_x, new_y) = recall_set(600, 0), recall_set(600, 1)
    score = {}
    for name, part in {"start": slice(0, 100), "rest": slice(100, None)}.items():
        model = LogisticRegression(C=0.1, max_iter=300).fit(x[:, part, 0], y)
        score[name] = model.score(new_x[:, part, 0], new_y)
    assert score["start"] > 0.97
    assert 0.43 < score["rest"] < 0.57  # 600 guesses: 3.5 standard errors


@pytest.mark.parametrize(("make", "classes"), [(rhythm_set, 3), (recall_set, 2)])
def test_sets_are_balanced(make, classes):
    x, y = make(31, 0, seconds=4)
    assert x.shape == (31, 400, 1) and x.dtype == torch.float32 and y.dtype == torch.int64
    assert y.bincount(minlength=classes).tolist() == sorted(y.bincount().tolist(), reverse=True)
    assert y.bincount().max() - y.bincount().min() <= 1
    again, same = make(31, 0, seconds=4)
    assert torch.equal(x, again) and torch.equal(y, same)
    assert not torch.equal(y, make(31, 1, seconds=4)[1])


def test_frames_keep_the_order():
    x = torch.arange(24.0).view(2, 12, 1)
    frames = in_frames(x, 4)
    assert frames.shape == (2, 3, 4)
    assert frames[0, 1].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: draw_ecg("flutter", 0, 0), "no rhythm 'flutter'"),
        (lambda: draw_recall("sideways", 0, 0), "no direction 'sideways'"),
        (lambda: draw_ecg("sinus", 0, 0, seconds=1), "at least 2 s"),
        (lambda: draw_ecg("sinus", 0, 0, rate=0), "20 Hz"),
        (lambda: draw_ecg("sinus", 0, 0, heart_rate=0), "heart rate of 0"),
        (lambda: draw_ecg("sinus", 0, 0, noise=-1), "noise of -1"),
        (lambda: recall_set(0, 0), "at least one"),
        (lambda: in_frames(torch.zeros(1, 10, 1), 3), "frames of 3"),
    ],
)
def test_nonsense_is_refused_in_one_line(wrong, words):
    with pytest.raises(InputError, match=words) as caught:
        wrong()
    assert "\n" not in str(caught.value)
