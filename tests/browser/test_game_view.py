"""The GAN of the site in a real Chromium: it learns, its gradients are those of torch, all that moves counts."""

import re

import numpy as np
import pytest
import torch
from test_site import ROOT, build
from torch import nn


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    wanted = "index.md,lecturer.md,views/[56]_*,labs/08_*,lectures/05_*"
    return build(ROOT / "site", tmp_path_factory.mktemp("site"), "-D", f"include_patterns={wanted}")


@pytest.fixture
def game(site, page, faults):
    page.goto((site / "views" / "6_gan_to_play_with.html").as_uri())
    yield page
    assert not faults


def words(page) -> str:
    return page.locator(".play .words").text_content()


def shares(page) -> list[int]:
    return [int(share) for share in re.findall(r"(\d+)%", words(page))]


def test_forward_and_backward_are_torch_s(game):
    said = game.evaluate(
        "() => { const random = randomNumbers(3), net = perceptron([2, 5, 4, 1], random);"
        " const x = Float32Array.from({ length: 14 }, random.normal), run = net.forward(x, 7);"
        " const back = net.backward(run, run.output.map((s) => 2 * s));"
        " const all = (key) => net.layers.map((layer) => Array.from(layer[key]));"
        " return { x: Array.from(x), output: Array.from(run.output), back: Array.from(back), weights: all('weights'),"
        " slopes: all('slope') }; }"
    )
    layers = []
    for (inputs, outputs), numbers in zip(((2, 5), (5, 4), (4, 1)), said["weights"], strict=True):
        layer = nn.Linear(inputs, outputs)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(numbers[: inputs * outputs]).reshape(outputs, inputs))
            layer.bias.copy_(torch.tensor(numbers[inputs * outputs :]))
        layers += [layer, nn.LeakyReLU(0.2)]
    network, x = nn.Sequential(*layers[:-1]), torch.tensor(said["x"]).reshape(7, 2).requires_grad_()
    output = network(x)
    (output**2).sum().backward()
    assert np.allclose(output.detach().numpy().ravel(), said["output"], atol=1e-5)
    assert np.allclose(x.grad.numpy().ravel(), said["back"], atol=1e-4)
    for layer, slopes in zip(layers[::2], said["slopes"], strict=True):
        expected = torch.cat([layer.weight.grad.flatten(), layer.bias.grad])
        assert np.allclose(expected.numpy(), slopes, atol=1e-4)


def test_it_learns_a_ring_and_not_without_a_discriminator_that_learns(game, shot):
    before = shares(game)
    for _ in range(15):
        game.get_by_role("button", name="100 steps").click()
    assert "Step 1500" in words(game) and min(shares(game)) > 60 > max(before)
    shot("site_gan")
    game.get_by_role("button", name="new networks").click()
    assert shares(game) == before
    game.locator("#judge").fill("-4")
    game.locator("#maker").fill("-1")
    for _ in range(15):
        game.get_by_role("button", name="100 steps").click()
    assert min(shares(game)) < 60, "the generator runs after a discriminator that stands still"


def test_points_are_drawn_chosen_and_cleared(game):
    canvas = game.locator(".play canvas")
    seen = {canvas.screenshot()}
    for shape in ("eight spots", "two moons"):
        game.select_option("#shape", shape)
        seen.add(canvas.screenshot())
    game.get_by_role("button", name="no points").click()
    assert "No real points" in words(game)
    game.get_by_role("button", name="100 steps").click()
    assert "No real points" in words(game)
    seen.add(canvas.screenshot())
    canvas.click(position={"x": 100, "y": 100})
    assert "Step 0" in words(game)
    seen.add(canvas.screenshot())
    assert len(seen) == 5


def test_play_and_pause_and_every_control_counts(game):
    go = game.locator("button.go")
    go.press("Enter")
    game.wait_for_function("document.querySelector('.play .words').textContent.match(/Step [1-9]/)")
    go.click()
    assert go.get_attribute("aria-pressed") == "false" and go.text_content() == "play"
    stopped = words(game)
    game.wait_for_timeout(200)
    assert words(game) == stopped

    def after_a_hundred(control=None, value=None):
        game.get_by_role("button", name="new networks").click()
        if control:
            field = game.locator(f"#{control}")
            field.select_option(value) if control == "loss" else field.fill(value)
        game.get_by_role("button", name="100 steps").click()
        return game.locator(".play canvas").screenshot()

    pictures = [after_a_hundred()]
    for control, value in (("loss", "saturating"), ("judge", "-3"), ("maker", "-3.5"), ("looks", "3")):
        pictures.append(after_a_hundred(control, value))
        assert game.locator(f"#{control}").get_attribute("aria-valuetext")
    assert len(set(pictures)) == len(pictures)


def test_a_phone_needs_no_sideways_scrolling(site, page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto((site / "views" / "6_gan_to_play_with.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
