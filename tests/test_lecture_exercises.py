"""Exercises of the lectures, solved in other ways than the course's own, are ticked."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mrctlib.course.exercises.core import check, find


def convolve_by_loops(image, kernel):
    size = kernel.shape[0]
    out = torch.zeros(image.shape[0] - size + 1, image.shape[1] - size + 1)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] = (image[row : row + size, column : column + size] * kernel).sum()
    return out


def max_pool_by_loops(image, factor):
    rows = []
    for row in range(image.shape[0] // factor):
        squares = [
            image[row * factor : (row + 1) * factor, c * factor : (c + 1) * factor]
            for c in range(image.shape[1] // factor)
        ]
        rows.append(torch.stack([square.max() for square in squares]))
    return torch.stack(rows)


def lstm_step_by_name(c, forget, write, new, show):
    kept = c * forget
    cell = kept.add(new * write)
    return torch.mul(show, cell.tanh()), cell


def attention_step_by_step(query, key):
    weights = torch.zeros(len(query), query.shape[1], key.shape[1])
    for step in range(query.shape[1]):
        scores = torch.einsum("nd,nsd->ns", query[:, step], key[:, : step + 1]) * query.shape[2] ** -0.5
        weights[:, step, : step + 1] = scores.exp() / scores.exp().sum(1, keepdim=True)
    return weights


def soft_dice_by_class(probabilities, truth):
    found = []
    for label in range(probabilities.shape[1]):
        p, y = probabilities[:, label].flatten(), truth[:, label].flatten()
        found.append(2 * torch.dot(p, y) / (p.sum() + y.sum()))
    return torch.stack(found)


def thick_slices_one_by_one(volumes, beside):
    found = []
    for volume in volumes:
        for middle in range(len(volume)):
            near = [min(max(middle + step, 0), len(volume) - 1) for step in range(-beside, beside + 1)]
            found.append(torch.stack([volume[level] for level in near]))
    return torch.stack(found)


def threshold_in_numpy(chances, classes, miss):
    oddities = np.sort(1 - chances.numpy()[np.arange(len(classes)), classes.numpy()])
    k = math.ceil((len(oddities) + 1) * (1 - miss))
    return np.append(oddities, 1.0)[min(k, len(oddities) + 1) - 1]


def patches_one_by_one(image, size):
    corners = [(row, column) for row in range(0, image.shape[0], size) for column in range(0, image.shape[1], size)]
    return torch.stack([image[row : row + size, column : column + size].flatten() for row, column in corners])


def mixture_step_by_step(betas):
    signal, noise, found = 1.0, 0.0, []
    for beta in betas.tolist():
        signal, noise = signal * math.sqrt(1 - beta), math.sqrt(noise**2 * (1 - beta) + beta)
        found.append((signal, noise))
    return tuple(torch.tensor(found).T)


def loss_by_the_image(predict, image, noise, angle):
    mixture = torch.lerp(image * angle.cos(), image * angle.cos() + noise, angle.sin())
    turn = (angle.cos() * mixture - image) / angle.sin()
    return F.mse_loss(predict(mixture, angle), turn)


def turned_by_an_angle(mixture, turn, now, after):
    step = now - after  # mixture and turn are at right angles: go back along the circle
    image = mixture * math.cos(now) - turn * math.sin(now)
    return math.cos(step) * mixture - math.sin(step) * turn, image


def nce_place_by_place(query, key, temperature):
    losses = []
    for place, one in enumerate(query):
        alike = torch.stack([F.cosine_similarity(one, other, dim=0) for other in key]) / temperature
        losses.append(alike.logsumexp(0) - alike[place])
    return sum(losses) / len(losses)


def shares_with_a_list(slope, image, baseline, steps):
    empty = torch.full_like(image, baseline)
    slopes = [slope(torch.lerp(empty, image, (k + 0.5) / steps)) for k in range(steps)]
    return torch.stack(slopes).mean(0) * (image - empty)


def wilson_by_roots(right, asked, z=1.96):
    share = right / asked
    low, high = sorted(np.roots([1 + z * z / asked, -(2 * share + z * z / asked), share * share]).real)
    return low, high


def stamps_by_overlap(pixels, kernel, stride):
    places = np.arange((pixels - 1) * stride + kernel)
    starts = stride * np.arange(pixels)[:, None]
    return ((places >= starts) & (places < starts + kernel)).sum(0)


def variation_by_slices(images):
    down = (images[:, :, 1:] - images[:, :, :-1]).abs()
    return down.mean() + (images[..., 1:] - images[..., :-1]).abs().mean()


OTHER_WAYS = [
    ("convolution.convolve", convolve_by_loops),
    ("convolution.convolve", lambda image, kernel: F.conv2d(image[None, None], kernel[None, None])[0, 0]),
    ("convolution.max_pool", max_pool_by_loops),
    ("convolution.max_pool", lambda image, factor: F.max_pool2d(image[None], factor)[0]),
    ("sequences.rnn_step", lambda x, h, w, u, b: F.linear(x, w, b).add(F.linear(h, u)).tanh()),
    ("sequences.rnn_step", lambda x, h, w, u, b: torch.tanh((w @ x.T + u @ h.T).T + b)),
    ("sequences.lstm_step", lstm_step_by_name),
    ("sequences.lstm_step", lambda c, f, i, g, o: [o * (i * g + f * c).tanh(), i * g + f * c]),
    ("sequences.attention_weights", attention_step_by_step),
    ("voxels.soft_dice", soft_dice_by_class),
    ("voxels.soft_dice", lambda p, y: 2 * torch.einsum("nchw,nchw->c", p, y) / (p.sum((0, 2, 3)) + y.sum((0, 2, 3)))),
    ("voxels.thick_slices", thick_slices_one_by_one),
    ("maps.integrated_gradients", shares_with_a_list),
    ("maps.conformal_threshold", threshold_in_numpy),
    ("convolution.cut_into_patches", lambda image, size: F.unfold(image[None, None], size, stride=size)[0].T),
    ("convolution.cut_into_patches", patches_one_by_one),
    ("diffusion.signal_and_noise", mixture_step_by_step),
    ("diffusion.denoising_loss", loss_by_the_image),
    ("diffusion.turn_back", turned_by_an_angle),
    ("diffusion.patch_nce", nce_place_by_place),
    ("game.best_discriminator", lambda p, q: 1 / (1 + q / p)),
    ("game.best_discriminator", lambda p, q: 1 / (1 + np.exp(np.log(q) - np.log(p)))),
    ("game.extra_gradient", lambda x, y, r: (x - r * (y + r * x), y + r * (x - r * y))),
    ("game.extra_gradient", lambda x, y, r: tuple(np.array([x, y]) * (1 - r * r) + r * np.array([-y, x]))),
    ("families.stamps", lambda n, k, s: F.conv_transpose1d(torch.ones(1, 1, n), torch.ones(1, 1, k), stride=s)[0, 0]),
    ("families.wilson", wilson_by_roots),
    ("style.gram", lambda maps: torch.einsum("nihw,njhw->nij", maps, maps) / math.prod(maps.shape[2:])),
    ("style.total_variation", variation_by_slices),
]


@pytest.mark.parametrize(("name", "answer"), OTHER_WAYS)
def test_other_right_ways_are_ticked(name, answer):
    verdict = check(find(name), answer)
    assert verdict.status == "right", verdict.message


def test_an_array_in_place_of_a_tensor_is_said_in_a_line():
    verdict = check(find("families.stamps"), stamps_by_overlap)
    assert verdict.status == "wrong" and verdict.message.startswith("Your answer is an array, expected a tensor.")
