"""Where real data come from, and the digits: found, downloaded from a server in a thread, or embedded."""

import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest
import torch

from mrctlib.course import digits, sources
from mrctlib.course.digits import load_handwritten_digits
from mrctlib.course.sources import RemoteFile, cache_folder, find_files
from mrctlib.runtime import InputError

CONTENT = b"seven seas " * 1000


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data folder, an empty cache."""
    monkeypatch.delenv("MRCT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server():
    """A mirror: `served` maps a path to its bytes, to an error code, or to bytes cut short; `asked` lists requests."""
    served, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = served.get(self.path, 404)
            if isinstance(answer, int):
                self.send_error(answer)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer) * (2 if "cut" in self.path else 1)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.served, running.asked = served, asked
        running.at = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()


def remote(server, *paths, path="toy/seas.txt", content=CONTENT):
    return RemoteFile(path, hashlib.sha256(content).hexdigest(), [server.at + p for p in paths])


def test_downloaded_once_then_found_in_the_cache(server, capsys):
    server.served["/good.gz"] = gzip.compress(CONTENT)
    files = [remote(server, "/good.gz")]
    assert find_files("seas", files) == cache_folder()
    assert (cache_folder() / "toy/seas.txt").read_bytes() == CONTENT
    assert find_files("seas", files) == cache_folder()
    assert server.asked == ["/good.gz"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("bad", [b"another sea", 404, 503])
@pytest.mark.parametrize("first", ["/bad", "/bad.gz", "/cut", "/cut.gz"])
def test_the_next_mirror_is_asked(server, bad, first):
    """Wrong bytes, bytes that are no gzip, half of them, an error: each is refused."""
    server.served |= {first: bad, "/good": CONTENT}
    if "cut" in first and bad == b"another sea":
        server.served[first] = (gzip.compress(CONTENT) if first.endswith(".gz") else CONTENT)[:40]
    assert find_files("seas", [remote(server, first, "/good")]) == cache_folder()
    assert (cache_folder() / "toy/seas.txt").read_bytes() == CONTENT
    assert server.asked == [first, "/good"]


def test_no_mirror_gives_one_line_and_leaves_nothing_behind(server, capsys):
    server.served |= {"/one": b"wrong", "/two.gz": gzip.compress(b"also wrong")}
    assert find_files("seas", [remote(server, "/one", "/two.gz"), remote(server, "/never", path="other")]) is None
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "seas could not be downloaded" in out and "SHA-256" in out
    assert server.asked == ["/one", "/two.gz"], "without the first file the second is not asked for"
    assert not [p for p in cache_folder().rglob("*") if p.is_file()]


def test_a_server_that_is_not_there(capsys):
    assert find_files("seas", [RemoteFile("a", "0", ["http://127.0.0.1:9/a"])]) is None
    assert "embedded data stand in" in capsys.readouterr().out


def test_a_silent_server_is_left_after_the_timeout(monkeypatch, capsys):
    import socket

    monkeypatch.setattr(sources, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert find_files("seas", [RemoteFile("a", "0", [f"http://127.0.0.1:{silent.getsockname()[1]}/a"])]) is None
    assert "timed out" in capsys.readouterr().out


def test_only_what_is_missing_is_fetched(server):
    server.served |= {"/a": CONTENT, "/b": b"b"}
    files = [remote(server, "/a", path="a"), remote(server, "/b", path="b", content=b"b")]
    cache_folder().mkdir(parents=True)
    (cache_folder() / "a").write_bytes(CONTENT)
    assert find_files("seas", files) == cache_folder()
    assert server.asked == ["/b"]


def test_the_users_folder_comes_first_and_is_taken_as_it_is(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MRCT_DATA", str(tmp_path))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/seas.txt").write_text("my own seas")
    assert find_files("seas", [remote(server, "/good")]) == tmp_path
    assert server.asked == []


def test_a_users_folder_without_the_set_does_not_stand_in_the_way(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MRCT_DATA", str(tmp_path))
    server.served["/good"] = CONTENT
    assert find_files("seas", [remote(server, "/good")]) == cache_folder()


def test_a_users_folder_that_does_not_exist(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MRCT_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no folder"):
        find_files("seas", [remote(server, "/good")])


def test_embedded_asks_nobody(server, monkeypatch, capsys):
    monkeypatch.setenv("MRCT_DATA", "embedded")
    server.served["/good"] = CONTENT
    assert find_files("seas", [remote(server, "/good")]) is None
    assert server.asked == [] and capsys.readouterr().out == ""


def test_the_cache_without_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mrct"


# Digits


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape) + values.tobytes()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder laid out as MNIST, with 6 + 4 drawn images."""
    drawn = np.random.default_rng(0)
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    truth = {}
    for part, count in (("train", 6), ("t10k", 4)):
        images, classes = drawn.integers(0, 256, (count, 28, 28), np.uint8), drawn.integers(0, 10, count, np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(classes))
        truth[part] = images, classes
    monkeypatch.setenv("MRCT_DATA", str(tmp_path / "data"))
    return raw, truth


def test_mnist_is_read(small_mnist):
    _, truth = small_mnist
    loaded = load_handwritten_digits()
    assert loaded.source.startswith("MNIST") and "6 to train on and 4 to test" in loaded.source
    for part, images, classes in (
        ("train", loaded.train_images, loaded.train_classes),
        ("t10k", loaded.test_images, loaded.test_classes),
    ):
        assert images.dtype == torch.float32 and classes.dtype == torch.int64
        np.testing.assert_array_equal((images[:, 0] * 255).round().numpy(), truth[part][0])
        np.testing.assert_array_equal(classes.numpy(), truth[part][1])


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"\0\0\x0d" + b[3:], lambda b: b[:9], lambda b: b"",
                                    lambda b: b[:4] + b"\0\0\0\x03" + b[8:-1]])  # fmt: skip
def test_a_damaged_file_is_named(small_mnist, damage):
    """Cut short, of another kind, empty, or whole but with a label too few."""
    file = small_mnist[0] / "t10k-labels-idx1-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte"):
        load_handwritten_digits()


def test_mnist_is_downloaded_and_unpacked(server, monkeypatch, small_mnist):
    raw, _ = small_mnist
    monkeypatch.delenv("MRCT_DATA")
    files = []
    for file in raw.iterdir():
        server.served[f"/{file.name}.gz"] = gzip.compress(file.read_bytes())
        files.append(remote(server, f"/{file.name}.gz", path=f"MNIST/raw/{file.name}", content=file.read_bytes()))
    monkeypatch.setattr(digits, "MNIST", files)
    assert len(load_handwritten_digits().train_images) == 6


def test_each_mnist_file_has_a_digest_and_two_mirrors():
    assert len(digits.MNIST) == 4
    for file in digits.MNIST:
        assert len(file.sha256) == 64 and len({url.split("/")[2] for url in file.urls}) == 2
        assert all(url.startswith("https://") and url.endswith(".gz") for url in file.urls)


def test_embedded_digits(monkeypatch):
    monkeypatch.setenv("MRCT_DATA", "embedded")
    one, two = load_handwritten_digits(), load_handwritten_digits()
    assert one.train_images.shape == (1297, 1, 28, 28) and one.test_images.shape == (500, 1, 28, 28)
    assert "scikit-learn" in one.source
    torch.testing.assert_close(one.test_images, two.test_images)
    images = torch.cat([one.train_images, one.test_images])
    assert images.min() == 0 and 0.9 < images.max() <= 1
    assert images[:, :, :4].max() == 0 and images[..., -4:].max() == 0, "a frame of 4 pixels, as in MNIST"
    shares = [torch.bincount(c, minlength=10) / len(c) for c in (one.train_classes, one.test_classes)]
    torch.testing.assert_close(*shares, atol=0.002, rtol=0)
    assert len(images.flatten(1).unique(dim=0)) == len(images), "no digit is on both sides"


def test_an_enlarged_digit_is_still_that_digit():
    """Shrunk again, nearly every digit's nearest neighbour in the original set has its class."""
    loaded = digits.embedded_digits()
    small = torch.nn.functional.adaptive_avg_pool2d(loaded.test_images[:, :, 4:-4, 4:-4], 4).flatten(1)
    train = torch.nn.functional.adaptive_avg_pool2d(loaded.train_images[:, :, 4:-4, 4:-4], 4).flatten(1)
    nearest = loaded.train_classes[torch.cdist(small, train).argmin(1)]
    assert (nearest == loaded.test_classes).float().mean() > 0.9
