import gzip

import pytest
import torch

from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.images import load_images, load_mnist, read_idx


def idx_bytes(values: torch.Tensor) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + values.numpy().tobytes()


@pytest.fixture
def images(generator):
    return torch.randint(0, 256, (20, 28, 28), generator=generator, dtype=torch.uint8)


@pytest.fixture
def mnist_folder(tmp_path, images):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(torch.arange(20, dtype=torch.uint8) % 10))
    return folder


def test_plain_and_gzipped_files_are_read(tmp_path, images):
    (tmp_path / "a").write_bytes(idx_bytes(images))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(images)))
    assert torch.equal(read_idx(tmp_path / "a"), images)
    assert torch.equal(read_idx(tmp_path / "a.gz"), images)


def test_a_truncated_file_is_refused(tmp_path, images):
    (tmp_path / "a").write_bytes(idx_bytes(images)[:-5])
    with pytest.raises(WeightspaceError, match="found 15675 bytes after the header, wanted 15680"):
        read_idx(tmp_path / "a")
    (tmp_path / "a").write_bytes(idx_bytes(images)[:10])
    with pytest.raises(WeightspaceError, match="ends inside its header"):
        read_idx(tmp_path / "a")


def test_bytes_after_the_data_are_refused(tmp_path, images):
    (tmp_path / "a").write_bytes(idx_bytes(images) + b"x")
    with pytest.raises(WeightspaceError, match="found more bytes"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize("cut", [slice(0, -200), slice(0, 12)])
def test_a_truncated_gzip_stream_is_refused(tmp_path, images, cut):
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(images))[cut])
    with pytest.raises(WeightspaceError, match="cut off"):
        read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize("start", [b"", b"PNG!", b"\0\0\x0d\x03", b"\0\0\x08\x00", b"\0\0\x08\x09"])
def test_what_is_no_idx_file_is_refused(tmp_path, start):
    (tmp_path / "a").write_bytes(start)
    with pytest.raises(WeightspaceError, match="not an idx file"):
        read_idx(tmp_path / "a")


def test_a_header_cannot_ask_for_all_memory(tmp_path):
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    with pytest.raises(WeightspaceError, match="more than the"):
        read_idx(tmp_path / "a")


def test_mnist_is_standardised_pooled_and_cut(mnist_folder, images):
    full = load_mnist(mnist_folder.parent)
    torch.testing.assert_close(full.train_x * 0.3081 + 0.1307, images[:, None].float() / 255)
    small = load_mnist(mnist_folder, train=6, test=3, pool=2)
    assert small.train_x.shape == (6, 1, 14, 14) and small.test_x.shape == (3, 1, 14, 14)
    assert torch.equal(small.train_x, load_mnist(mnist_folder, train=6, pool=2).train_x)
    one = (full.train_x[:, 0, :2, :2].mean((1, 2)) - small.train_x[0, 0, 0, 0]).abs().min()
    assert one < 1e-6


def test_bad_requests_are_refused(mnist_folder, monkeypatch, tmp_path):
    with pytest.raises(WeightspaceError, match="pool=3 does not divide"):
        load_mnist(mnist_folder, pool=3)
    with pytest.raises(WeightspaceError, match="asked for 21 train images, found 20"):
        load_mnist(mnist_folder, train=21)
    with pytest.raises(ConfigurationError, match="wanted one of digits, mnist"):
        load_images("cifar")
    monkeypatch.delenv("WEIGHTSPACE_DATA", raising=False)
    with pytest.raises(ConfigurationError, match="set WEIGHTSPACE_DATA"):
        load_mnist()
    with pytest.raises(ConfigurationError, match="found no train-images"):
        load_mnist(tmp_path / "nowhere")


def test_images_and_labels_must_belong_together(mnist_folder):
    (mnist_folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(torch.zeros(19, dtype=torch.uint8)))
    with pytest.raises(WeightspaceError, match="do not belong together"):
        load_mnist(mnist_folder)
    (mnist_folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(WeightspaceError, match="found neither train-labels"):
        load_mnist(mnist_folder)


def test_the_real_files_hold_mnist(data_root):
    mnist = load_mnist(data_root)
    assert mnist.train_x.shape == (60000, 1, 28, 28) and mnist.test_x.shape == (10000, 1, 28, 28)
    assert abs(mnist.train_x.mean()) < 1e-3 and abs(mnist.train_x.std() - 1) < 1e-3
    assert torch.bincount(mnist.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
