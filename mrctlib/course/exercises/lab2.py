"""Exercises and questions of the lab on maps that say where a network looks, and on scores that judge such maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course import explain
from mrctlib.course.exercises.core import Exercise, Question


def _network() -> nn.Module:
    """A small classifier, (N, 1, H, W) to (N, 3), in evaluation mode."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    ).eval()  # fmt: skip


def _asked() -> tuple[nn.Module, Tensor, Tensor]:
    """A network, three images, and three targets that are not all what the network says."""
    network, images = _network(), torch.randn(3, 1, 8, 6)
    highest = network(images).argmax(1)
    return network, images, (highest + torch.tensor([0, 1, 2])) % 3


def _scores(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return network(images).gather(1, targets[:, None])[:, 0]


def _slope(network: nn.Module, images: Tensor, of) -> Tensor:
    x = images.clone().requires_grad_()
    return torch.autograd.grad(of(network(x)), x)[0]


# ---------------------------------------------------------------------------------------------------- gradients


Exercise(
    "saliency.gradient",
    reference=explain.saliency,
    inputs=_asked,
    wrong=[
        (lambda model, x, t: _slope(model, x, lambda s: s.gather(1, t[:, None]).sum()), "The sign is left: take the absolute value."),
        (lambda model, x, t: _slope(model, x, lambda s: s.gather(1, t[:, None]).sum()) ** 2, "This is the square: take the absolute value."),
        (lambda model, x, t: _slope(model, x, lambda s: s.sum()).abs(), "This is the sum over all classes: pick the score of each image's target."),
        (lambda model, x, t: _slope(model, x, lambda s: s.amax(1).sum()).abs(), "This explains the highest score, not that of the target."),
        (lambda model, x, t: _slope(model, x, lambda s: s[:, t[0]].sum()).abs(), "Each image has a target of its own: `gather` picks one score from each row."),
        (lambda model, x, t: _slope(model, x, lambda s: s[:, t].sum()).abs(), "`scores[:, targets]` is a table of all pairs: `gather` picks one score from each row."),
        (lambda model, x, t: _slope(model, x, lambda s: s.softmax(1).gather(1, t[:, None]).sum()).abs(), "Explain the score itself: after the softmax the other classes mix in."),
        (lambda model, x, t: _slope(model, x, lambda s: s.gather(1, t[:, None]).mean()).abs(), "The mean divides by the number of images: the answer to one would depend on the others. Take the sum."),
        (lambda model, x, t: (x * _slope(model, x, lambda s: s.gather(1, t[:, None]).sum())).abs(), "This is gradient times image: leave the image out."),
    ],
)  # fmt: skip


def occlusion(network: nn.Module, images: Tensor, targets: Tensor, size: int, fill: float) -> Tensor:
    """How far the score of the target falls when each square of `size` pixels, side by side, is painted with `fill`.

    (N, 1, H, W) to the same. `explain.occlusion` also lets squares overlap.
    """
    return explain.occlusion(network, images, targets, size=size, stride=size, fill=fill)


def _by_squares(network, images, targets, size, change, *, clean: bool = True) -> Tensor:
    """A map filled square by square; `change(painted, square)` paints, and says what the square is worth."""
    result, painted = torch.zeros_like(images), images.clone()
    with torch.no_grad():
        for top in range(0, images.shape[2], size):
            for left in range(0, images.shape[3], size):
                square = (..., slice(top, top + size), slice(left, left + size))
                painted = images.clone() if clean else painted
                result[square] = change(painted, square)[:, None, None, None]
    return result


def _painted(painted: Tensor, square: tuple, fill: float) -> Tensor:
    painted[square] = fill
    return painted


def _chance(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return network(images).softmax(1).gather(1, targets[:, None])[:, 0]


Exercise(
    "saliency.occlusion",
    reference=occlusion,
    inputs=lambda: (*_asked(), 2, 0.5),
    wrong=[
        (lambda network, x, t, size, fill: -occlusion(network, x, t, size, fill), "The sign: a square that matters makes the score *fall*, and gets a positive value."),
        (lambda network, x, t, size, fill: occlusion(network, x, t, size, 0.0), "Paint with `fill`, not with 0."),
        (lambda network, x, t, size, fill: occlusion(network, x, network(x).argmax(1), size, fill), "This explains the highest score, not that of the target."),
        (lambda network, x, t, size, fill: _by_squares(network, x, t, size, lambda p, s: _scores(network, x, t) - _scores(network, _painted(p, s, fill), t), clean=False), "Squares stay painted: start from a fresh `images.clone()` each time."),
        (lambda network, x, t, size, fill: _by_squares(network, x, t, size, lambda p, s: _scores(network, _painted(p, s, fill), t)), "This is the score that is left: subtract it from the score of the whole image."),
        (lambda network, x, t, size, fill: _by_squares(network, x, t, size, lambda p, s: _chance(network, x, t) - _chance(network, _painted(p, s, fill), t)), "This is the fall of the probability: take the score before the softmax."),
        (lambda network, x, t, size, fill: occlusion(network, x, t, size, fill).abs(), "Keep the sign: where the score rises, the square spoke against the class."),
        (lambda network, x, t, size, fill: occlusion(network, x, t, size, fill).clamp(min=0), "Keep what is negative too: there the square spoke against the class."),
        (lambda network, x, t, size, fill: F.max_pool2d(occlusion(network, x, t, size, fill), size), "One value for each square: write it into all pixels of the square, so that the map fits the image."),
    ],
)  # fmt: skip

Question(
    "saliency.fill",
    text="You look for what speaks for a calcification, which is black in these slices. What should the "
    "occluding square be painted with?",
    choices=["black, as the air", "the brightness of white matter", "bright, as fluid", "it does not matter"],
    answer="b",
    explanation="The square should take evidence away and bring none of its own. There is no perfect filling: the "
    "network has never seen a square.",
    wrong={
        "a": "A black spot is just what it looks for: the square brings new evidence.",
        "c": "A bright spot is evidence as well, for a tumour: the square should bring none of its own.",
        "d": "The map shows the difference between what was there and what you paint: it matters a lot.",
    },
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- feature maps


def cam(features: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """(N, C, H, W) maps, (classes, C) weights of the last layer, (N,) targets to (N, 1, H, W). Zhou et al. 2016."""
    return (features * weights[targets][:, :, None, None]).sum(1, keepdim=True)


Exercise(
    "saliency.cam",
    reference=cam,
    inputs=lambda: (torch.rand(2, 4, 5, 6), torch.randn(4, 4), torch.tensor([2, 0])),
    wrong=[
        (lambda f, w, t: (f * w[:, t].T[:, :, None, None]).sum(1, keepdim=True), "Rows of `weights` are classes, columns are channels: `weights[targets]`."),
        (lambda f, w, t: f.sum(1, keepdim=True), "All channels count the same here: weight them as the last layer does for the target."),
        (lambda f, w, t: (f * w[t][:, :, None, None]).mean(1, keepdim=True), "The channels are added up, not averaged."),
        (lambda f, w, t: (f * w[t][:, :, None, None]).sum(1), "Keep the axis of the channels, with one channel: `keepdim=True`."),
        (lambda f, w, t: f * w[t][:, :, None, None], "Add the weighted channels up."),
        (lambda f, w, t: torch.einsum("nchw,kc->nkhw", f, w), "These are the maps of all classes: keep that of each image's target."),
        (lambda f, w, t: cam(f, w, t).clamp(min=0), "No ReLU here: that comes with Grad-CAM."),
        (lambda f, w, t: cam(f, w, t[:1].expand(len(t))), "Each image has a target of its own: `weights[targets]` has a row for each."),
    ],
)  # fmt: skip


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """(N, C, H, W) feature maps and the gradient of the score to them, to (N, 1, H, W). Selvaraju et al. 2017."""
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features).sum(1, keepdim=True).clamp(min=0)


Exercise(
    "saliency.grad_cam",
    reference=grad_cam,
    inputs=lambda: (torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6) + torch.randn(3, 4, 1, 1)),
    wrong=[
        (lambda f, g: (g.mean((2, 3), keepdim=True) * f).sum(1, keepdim=True), "The ReLU is missing: only what speaks for the class is kept."),
        (lambda f, g: (g.mean((2, 3), keepdim=True) * f).sum(1, keepdim=True).abs(), "What is negative speaks against the class: set it to 0, do not turn it over."),
        (lambda f, g: grad_cam(f, g.mean(1, keepdim=True).expand_as(g)), "Each channel has a weight of its own: the mean goes over height and width, axes (2, 3)."),
        (lambda f, g: (g.mean(1, keepdim=True) * f).sum(1, keepdim=True).clamp(min=0), "The mean goes over height and width, axes (2, 3), not over the channels."),
        (lambda f, g: (g.mean(0, keepdim=True) * f).sum(1, keepdim=True).clamp(min=0), "The mean goes over height and width, axes (2, 3): each image has weights of its own."),
        (lambda f, g: grad_cam(f, g.mean((0, 2, 3), keepdim=True).expand_as(g)), "Each image has weights of its own: leave axis 0 out of the mean."),
        (lambda f, g: (g * f).sum(1, keepdim=True).clamp(min=0), "A weight for each pixel is another method (HiResCAM, Draelos and Carin 2020): average the gradient over the map first."),
        (lambda f, g: (g.mean((2, 3), keepdim=True) * f).clamp(min=0).sum(1, keepdim=True), "First the sum, then the ReLU: channels that speak against the class must count too."),
        (lambda f, g: (g.mean((2, 3), keepdim=True).clamp(min=0) * f).sum(1, keepdim=True), "The ReLU belongs around the sum, not around the weights."),
        (lambda f, g: grad_cam(f, g) * f[0, 0].numel(), "The mean of the gradient, not its sum."),
        (lambda f, g: grad_cam(f, g) / f.shape[1], "The weighted channels are added up, not averaged."),
        (lambda f, g: grad_cam(g, f), "You swapped the two: the gradient gives the weights, the features are weighted."),
        (lambda f, g: grad_cam(f, g)[:, 0], "Keep the axis of the channels, with one channel: `keepdim=True`."),
    ],
)  # fmt: skip

Question(
    "saliency.same_map",
    text="The network ends in a global average and one linear layer. How does Grad-CAM of its last feature maps compare "
    "with CAM?",
    choices=[
        "it is CAM without what is negative, up to a constant factor",
        "it is finer than CAM",
        "it points at other places",
        "it needs a new training",
    ],
    answer="a",
    explanation="The gradient of the score to each pixel of map c is weight c divided by the number of pixels. So Grad-CAM "
    "takes CAM to every network and every layer, without changing it where CAM exists.",
    wrong={
        "b": "Both have the grid of the last feature maps.",
        "c": "Write the score as the sum over channels of weight times mean, and take its gradient to one pixel of one map.",
        "d": "Neither does: both ask a network that has been trained.",
    },
)


# ---------------------------------------------------------------------------------------------------- guided


def guided_rule(x: Tensor, gradient: Tensor) -> Tensor:
    """What a ReLU whose input was x hands back of a gradient, in guided backprop. Springenberg et al. 2015."""
    return gradient.clamp(min=0) * (x > 0)


Exercise(
    "saliency.guided_rule",
    reference=guided_rule,
    inputs=lambda: (torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)),
    wrong=[
        (lambda x, g: g * (x > 0), "This is the ordinary gradient of ReLU: what is negative of the gradient is stopped too."),
        (lambda x, g: g.clamp(min=0), "This is the deconvnet: a ReLU that was silent on the way forward stays silent too."),
        (lambda x, g: g.abs() * (x > 0), "What is negative of the gradient is stopped, not turned over."),
        (lambda x, g: ((x > 0) & (g > 0)).float(), "These places are right: hand on the gradient there, not 1."),
        (lambda x, g: ((x > 0) & (g > 0)), "These places are right: hand on the gradient there, not True."),
        (lambda x, g: g.clamp(min=0) * x.clamp(min=0), "Where x is positive the gradient passes as it is: do not multiply it by x."),
        (lambda x, g: x.clamp(min=0) * (g > 0), "You swapped the two: it is the gradient that is handed on."),
        (lambda x, g: g.clamp(max=0) * (x > 0), "It is what is positive of the gradient that passes."),
        (lambda x, g: g.clamp(min=0) * (x < 0), "The other way round: a ReLU lets the gradient pass where its input was positive."),
        (lambda x, g: g[(x > 0) & (g > 0)], "What is stopped becomes 0; it does not vanish."),
    ],
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- scores


def pointing_game(maps: Tensor, masks: Tensor, slack: int) -> Tensor:
    """Whether the largest value of each map lies in its mask, or within `slack` pixels up, down or across: (N,) bool.

    maps: (N, 1, H, W); masks: the same, boolean. After Zhang et al. 2018.
    """
    wider = F.max_pool2d(masks.float(), 2 * slack + 1, stride=1, padding=slack).flatten(1)
    highest = maps.flatten(1).argmax(1)
    return wider.gather(1, highest[:, None])[:, 0] > 0


def _spots() -> tuple[Tensor, Tensor, int]:
    """Maps whose maximum lies within, near and far from the mask, in an order that is drawn."""
    masks, maps = torch.zeros(8, 1, 12, 10, dtype=torch.bool), torch.rand(8, 1, 12, 10) * 0.5
    masks[:, :, 4:7, 4:6] = True
    columns = torch.tensor([4, 5, 6, 7, 8, 9, 2, 7])[torch.randperm(8)]
    maps[torch.arange(8), 0, 5, columns] = 1
    maps[:, 0, 0, 0] = torch.tensor([-2.0, -0.9]).repeat(4)
    return maps, masks, 2


Exercise(
    "saliency.pointing_game",
    reference=pointing_game,
    inputs=_spots,
    wrong=[
        (lambda maps, masks, slack: pointing_game(maps, masks, 0), "The slack is missing: widen the mask by that many pixels on each side."),
        (lambda maps, masks, slack: pointing_game(maps, masks, slack).float().mean(), "This is the share of hits: return one answer for each image."),
        (lambda maps, masks, slack: pointing_game(maps, masks, slack).float(), "True or False for each image: compare with 0 at the end."),
        (lambda maps, masks, slack: pointing_game(maps, masks, slack // 2), "The mask is widened on *each* side: a window of 2 slack + 1 pixels."),
        (lambda maps, masks, slack: pointing_game(maps.abs(), masks, slack), "The largest value, not the largest absolute value."),
        (lambda maps, masks, slack: pointing_game(-maps, masks, slack), "This is the smallest value: take the largest."),
        (lambda maps, masks, slack: ~pointing_game(maps, masks, slack), "This is True for a miss."),
        (lambda maps, masks, slack: masks.flatten(1).any(1), "The map must count: look at where it is largest."),
    ],
)  # fmt: skip


def overlap(maps: Tensor, masks: Tensor) -> Tensor:
    """Intersection over union of the mask and of where each map reaches half its own maximum: (N, 1, H, W) to (N,)."""
    high = (maps >= maps.amax((1, 2, 3), keepdim=True) / 2).flatten(1)
    inside = masks.flatten(1)
    return (high & inside).sum(1) / (high | inside).sum(1)


def _halves(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    return (maps >= maps.amax((1, 2, 3), keepdim=True) / 2).flatten(1), masks.flatten(1)


def _dice(maps: Tensor, masks: Tensor) -> Tensor:
    high, inside = _halves(maps, masks)
    return 2 * (high & inside).sum(1) / (high.sum(1) + inside.sum(1))


def _fixed_threshold(maps: Tensor, masks: Tensor) -> Tensor:
    high, inside = (maps >= 0.5).flatten(1), masks.flatten(1)
    return (high & inside).sum(1) / (high | inside).sum(1)


Exercise(
    "saliency.overlap",
    reference=overlap,
    inputs=lambda: (torch.rand(3, 1, 8, 6) * torch.tensor([1.0, 3.0, 5.0])[:, None, None, None], torch.rand(3, 1, 8, 6) < 0.4),
    wrong=[
        (_dice, "This is the Dice score: divide the intersection by the union."),
        (lambda maps, masks: (_halves(maps, masks)[0] & _halves(maps, masks)[1]).sum(1) / _halves(maps, masks)[1].sum(1), "This is the share of the lesion that is covered: a map that is high everywhere would win. Divide by the union."),
        (lambda maps, masks: (_halves(maps, masks)[0] & _halves(maps, masks)[1]).sum(1) / _halves(maps, masks)[0].sum(1), "This is the share of the bright spot that is lesion: a single pixel could win. Divide by the union."),
        (_fixed_threshold, "The threshold is half of each map's own maximum, not 0.5."),
        (lambda maps, masks: overlap(maps / maps.amax((1, 2, 3), keepdim=True) * (maps / maps.max() >= 0.5), masks), "Every map has a maximum of its own: not one for the whole batch."),
        (lambda maps, masks: overlap(maps, masks).mean(), "This is the mean over the images: return one number for each."),
        (lambda maps, masks: (_halves(maps, masks)[0] & _halves(maps, masks)[1]).sum(1), "This is the number of pixels in common: divide by the union."),
        (lambda maps, masks: 1 - overlap(maps, masks), "This is 1 minus the overlap."),
    ],
)  # fmt: skip


def exchange(before: Tensor, after: Tensor, maps: Tensor, share: float) -> Tensor:
    """`before`, with the given share of its pixels, those where the map is highest, taken from `after`.

    All (N, 1, H, W). From the image to a blurred one this is deletion, the other way round insertion (Petsiuk et al.
    2018).
    """
    rank = maps.flatten(1).argsort(1, descending=True).argsort(1).view(maps.shape)
    return torch.where(rank < share * maps[0].numel(), after, before)


def _by_value(before: Tensor, after: Tensor, maps: Tensor, share: float) -> Tensor:
    return torch.where(maps > (1 - share) * maps.amax((1, 2, 3), keepdim=True), after, before)


def _without_rank(before: Tensor, after: Tensor, maps: Tensor, share: float) -> Tensor:
    order = maps.flatten(1).argsort(1, descending=True).view(maps.shape)
    return torch.where(order < share * maps[0].numel(), after, before)


def _over_the_batch(before: Tensor, after: Tensor, maps: Tensor, share: float) -> Tensor:
    rank = maps.flatten().argsort(descending=True).argsort().view(maps.shape)
    return torch.where(rank < share * maps.numel(), after, before)


Exercise(
    "saliency.exchange",
    reference=exchange,
    inputs=lambda: (torch.rand(3, 1, 8, 6), -torch.rand(3, 1, 8, 6), torch.rand(3, 1, 8, 6) ** 2 * torch.tensor([1.0, 2.0, 3.0])[:, None, None, None], 0.25),
    wrong=[
        (lambda before, after, maps, share: exchange(after, before, maps, share), "You swapped the two: most of the image is still `before`."),
        (lambda before, after, maps, share: exchange(before, after, -maps, share), "The other end: the pixels where the map is *highest* go first."),
        (lambda before, after, maps, share: exchange(before, after, maps, 1 - share), "This exchanges all the others: `share` says how many go."),
        (_by_value, "Share of the pixels, not of the highest value: rank the pixels."),
        (_without_rank, "`argsort` says which pixel comes first, second, ...; what is wanted is the rank of each pixel: `argsort` a second time."),
        (_over_the_batch, "Each image is ranked for itself: flatten from axis 1 on."),
        (lambda before, after, maps, share: before, "Nothing is exchanged."),
        (lambda before, after, maps, share: exchange(before, torch.zeros_like(after), maps, share), "The new values come from `after`, not 0."),
    ],
)  # fmt: skip

Question(
    "saliency.good_curves",
    text="You delete the pixels that a map calls most important, a few at a time, and watch the probability of the class. "
    "Then you insert them into a blurred image. When is the map good?",
    choices=[
        "it falls early, and rises early",
        "it falls late, and rises late",
        "it falls early, and rises late",
        "both curves are straight lines",
    ],
    answer="a",
    explanation="So a small area under deletion and a large one under insertion. Neither needs a mask; both need images "
    "that the network has never seen the like of.",
    wrong={
        "b": "Then the first pixels did not matter, in either game.",
        "c": "If taking them away destroys the evidence, putting them back should bring it.",
        "d": "Then every pixel mattered as much as any other: that is what a map that knows nothing gives.",
    },
)


def share_inside(maps: Tensor, region: Tensor) -> Tensor:
    """How much of each map lies in a region, 0 to 1: maps (N, 1, H, W), at least 0; region (H, W), boolean; (N,).

    A map of zeros lies nowhere: 0.
    """
    inside, total = (maps * region).sum((1, 2, 3)), maps.sum((1, 2, 3))
    return inside / torch.where(total > 0, total, 1)


def _corner() -> tuple[Tensor, Tensor]:
    """Maps of different brightness, one of them all zero, and a region in one corner."""
    region = torch.zeros(8, 6, dtype=torch.bool)
    region[:3, 4:] = True
    return torch.rand(4, 1, 8, 6) * torch.tensor([1.0, 4.0, 0.0, 9.0])[:, None, None, None], region


Exercise(
    "saliency.share_inside",
    reference=share_inside,
    inputs=_corner,
    wrong=[
        (lambda maps, region: (maps * region).sum((1, 2, 3)) / maps.sum((1, 2, 3)), "A map may be zero everywhere: 0 divided by 0 is nan. Such a map lies nowhere, so return 0."),
        (lambda maps, region: (maps * region).sum((1, 2, 3)), "This is how much lies inside: divide by the whole map."),
        (lambda maps, region: share_inside(maps, ~region), "This is the share outside."),
        (lambda maps, region: (maps * region).sum() / maps.sum(), "One number for each image: sum over the axes (1, 2, 3)."),
        (lambda maps, region: share_inside(maps, region).mean(), "This is the mean over the images: return one number for each."),
        (lambda maps, region: (maps * region).mean((1, 2, 3)), "This is a mean over all pixels: divide what lies inside by the whole map."),
        (lambda maps, region: share_inside((maps > 0).float(), region), "This counts pixels: add up the values of the map."),
    ],
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- a shortcut

Question(
    "saliency.pasted",
    text="95% of the slices with a tumour carry the tag and 5% of the others. As a cure you paste the tag onto each "
    "training slice that lacks it, with chance 1/2, and take none away. How many percent of the *other* slices carry it "
    "now?",
    answer=5 + 95 / 2,
    unit="percent",
    tolerance=0.5,
    explanation="And 97.5% of those with a tumour: the tag still says a lot. Clear the corner first, then paste: then it "
    "is half of each, and says nothing.",
    wrong={
        50.0: "Close: those that had it keep it, and half of the rest gets it.",
        97.5: "That is the share among the slices with a tumour.",
        55.0: "Only those without a tag can get one: half of 95%.",
        47.5: "Those are the new ones: 5% had it before.",
    },
)

Question(
    "saliency.internal_test",
    text="A network that reads the tag is tested on new patients from the same hospital, where the tag goes with the tumour "
    "as in training. What does its accuracy there tell?",
    choices=[
        "that it recognises tumours",
        "that it recognises tumours or tags: the test cannot say which",
        "that it learned the training slices by heart",
        "nothing at all",
    ],
    answer="b",
    explanation="A test set from the same source has the same shortcuts. Zech et al. 2018 found this in chest X-rays: "
    "networks that read the hospital.",
    wrong={
        "a": "What else could it have used, that is there in the test as well?",
        "c": "The patients are new: learning by heart would not help.",
        "d": "It tells how it will do where the tag goes with the tumour. That is just not where it is wanted.",
    },
)
