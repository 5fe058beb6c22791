"""The judge of digits: it knows them, says the same twice, and its features are what its last layer reads."""

import pytest
import torch

from mrctlib.course.digits import embedded_digits
from mrctlib.course.fidelity import frechet_distance
from mrctlib.course.judge import DigitJudge, train_judge
from mrctlib.course.networks.classifiers import conv_bn_relu
from mrctlib.runtime import Tier
from mrctlib.training.supervised import accuracy

CPU = Tier("cpu", torch.device("cpu"))


@pytest.fixture(scope="module")
def digits():
    return embedded_digits()


@pytest.fixture(scope="module")
def judge(digits):
    return train_judge(digits, steps=200, here=CPU)


def test_it_knows_digits(judge, digits):
    assert accuracy(judge, digits.test_images, digits.test_classes) > 0.93
    seen = judge.classes(digits.test_images)
    assert seen.shape == digits.test_classes.shape
    assert float((seen == digits.test_classes).float().mean()) > 0.93


def test_features_are_what_the_last_layer_reads(judge, digits):
    images = digits.test_images[:50]
    features = judge.features(images)
    assert features.shape == (50, 64) and features.min() >= 0
    with torch.no_grad():
        assert torch.equal(judge[-1](features).argmax(1), judge.classes(images))


def test_asking_changes_nothing(judge, digits):
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    first = judge.features(digits.test_images[:20])
    judge.classes(digits.test_images[20:90])
    assert torch.equal(first, judge.features(digits.test_images[:20]))
    assert all(torch.equal(before[name], value) for name, value in judge.state_dict().items())
    assert not any(part.training for part in judge.modules())


def test_features_tell_noise_from_digits(judge, digits):
    real = judge.features(digits.test_images)
    floor = frechet_distance(real, judge.features(digits.train_images[:500]))
    noise = torch.rand(500, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(real, judge.features(noise)) > 10 * floor


def test_same_seed_same_judge(digits):
    one, two, other = (train_judge(digits, steps=3, seed=seed, here=CPU) for seed in (1, 1, 2))
    assert torch.equal(one[-1].weight, two[-1].weight)
    assert not torch.equal(one[-1].weight, other[-1].weight)


def test_form():
    judge = DigitJudge().eval()
    assert judge(torch.rand(3, 1, 28, 28)).shape == (3, 10)
    assert isinstance(judge[0], type(conv_bn_relu(1, 1)))
