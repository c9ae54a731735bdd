import numpy as np
import pytest
import torch
from scipy import ndimage

from weightspace.errors import ConfigurationError
from weightspace.images import ImageEdit, dilate, erode, load_digits, rotate


@pytest.mark.parametrize("size", [1, 3, 5])
def test_morphology_is_that_of_scipy(size, generator):
    images = torch.rand(4, 7, 6, generator=generator, dtype=torch.float64)
    for ours, theirs, outside in ((dilate, ndimage.grey_dilation, -np.inf), (erode, ndimage.grey_erosion, np.inf)):
        found = ours(images, size)
        for image, wanted in zip(images.numpy(), found.numpy(), strict=True):
            assert np.array_equal(theirs(image, size=(size, size), mode="constant", cval=outside), wanted)


def test_a_quarter_turn_is_exact_and_a_full_one_changes_nothing(generator):
    images = torch.rand(3, 5, 5, generator=generator, dtype=torch.float64)
    for quarters in (1, 2, 3, -1):
        torch.testing.assert_close(
            rotate(images, 90.0 * quarters), torch.rot90(images, quarters, (1, 2)), rtol=1e-10, atol=1e-10
        )
    torch.testing.assert_close(rotate(images, 360.0), images, rtol=1e-10, atol=1e-10)


def test_rotation_keeps_the_shape_of_images_that_are_not_square(generator):
    images = torch.rand(1, 5, 9, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(rotate(images, 180.0), images.flip(1, 2), rtol=1e-10, atol=1e-10)
    turned = rotate(images, 90.0)
    torch.testing.assert_close(turned[:, :, 2:7], torch.rot90(images[:, :, 2:7], 1, (1, 2)), rtol=1e-10, atol=1e-10)
    assert not turned[:, :, :2].any() and not turned[:, :, 7:].any()


def test_edits_by_name(generator):
    images = torch.rand(2, 6, 6, generator=generator)
    assert torch.equal(ImageEdit("dilate", size=5)(images), dilate(images, 5))
    assert torch.equal(ImageEdit("erode")(images), erode(images))
    assert torch.equal(ImageEdit("rotate", degrees=20)(images), rotate(images, 20))
    assert torch.equal(ImageEdit("invert")(images), 1 - images)
    noisy = [ImageEdit("noise", noise=0.2)(images, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])
    assert 0.1 < float((noisy[0] - images).std()) < 0.3
    texts = [str(ImageEdit(name)) for name in ("dilate", "rotate", "invert", "noise")]
    assert texts == ["dilate by 3x3", "rotate by 30 degrees", "invert", "noise of 0.3"]


def test_what_is_no_edit_is_refused():
    with pytest.raises(ConfigurationError, match="found operation 'blur', wanted one of dilate, erode, rotate"):
        ImageEdit("blur")
    with pytest.raises(ConfigurationError, match="found size 4, wanted an odd number"):
        ImageEdit("dilate", size=4)
    with pytest.raises(ConfigurationError, match="found size 2, wanted an odd number"):
        dilate(torch.zeros(1, 3, 3), 2)
    with pytest.raises(ConfigurationError, match="found degrees nan and noise 0.3"):
        ImageEdit("rotate", degrees=float("nan"))


def test_pixels_are_grey_values():
    digits = load_digits()
    pixels = digits.pixels(digits.train_x)
    assert pixels.shape == (1347, 8, 8) and float(pixels.min()) == 0 and float(pixels.max()) == pytest.approx(1)
    assert float((pixels * 16 - (pixels * 16).round()).abs().max()) < 1e-4
