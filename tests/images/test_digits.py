import torch

from weightspace.images import load_digits, load_images


def test_the_split_is_disjoint_complete_and_stratified():
    digits = load_digits()
    assert len(digits.train_x) + len(digits.test_x) == 1797
    assert len(torch.unique(torch.cat([digits.train_x, digits.test_x]).flatten(1), dim=0)) == 1797
    share = torch.bincount(digits.test_y) / torch.bincount(torch.cat([digits.train_y, digits.test_y]))
    assert (share - 450 / 1797).abs().max() < 0.01


def test_images_are_standardised_and_typed():
    digits = load_digits()
    x = torch.cat([digits.train_x, digits.test_x])
    assert abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-3
    assert x.dtype == torch.float32 and digits.train_y.dtype == torch.int64
    assert digits.image_size == 8


def test_the_split_is_always_the_same():
    first, second = load_digits(), load_images("digits")
    assert torch.equal(first.test_x, second.test_x) and torch.equal(first.train_y, second.train_y)
