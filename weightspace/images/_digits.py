"""The digits that come with scikit-learn: 1,797 images of 8x8 pixels.

Source: the test part of Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", 1998, UCI, CC BY 4.0.
"""

import torch

from weightspace.images._image_set import ImageSet

LARGEST_PIXEL = 16.0
MEAN, SPREAD = 0.3053, 0.3760  # of all pixels, after the division by LARGEST_PIXEL
TEST_IMAGES = 450
SPLIT_SEED = 0


def load_digits() -> ImageSet:
    """Digits as (N, 1, 8, 8), standardised by fixed constants: 1,347 training and 450 test images.

    The split is stratified and always the same.

    Example:
        >>> digits = load_digits()
        >>> tuple(digits.train_x.shape), tuple(digits.test_x.shape)
        ((1347, 1, 8, 8), (450, 1, 8, 8))
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    source = datasets.load_digits()
    train, test = train_test_split(
        range(len(source.target)), test_size=TEST_IMAGES, stratify=source.target, random_state=SPLIT_SEED
    )
    x = (torch.from_numpy(source.images).float()[:, None] / LARGEST_PIXEL - MEAN) / SPREAD  # (N, 1, 8, 8)
    y = torch.from_numpy(source.target).long()
    return ImageSet("digits", 10, x[train], y[train], x[test], y[test], MEAN, SPREAD)
