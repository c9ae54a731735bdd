from weightspace.zoo import Zoo

from ._zoos import small_zoo, space_of


def test_a_zoo_in_words(tmp_path, generator):
    small_zoo(tmp_path, generator)
    text = Zoo(tmp_path).describe()
    assert "10 networks of 3 architectures" in text and "all weights are finite" in text
    assert all(space_of(kind).signature[:12] in text for kind in range(3))
    assert "0 to 0.09, median 0.05" in text and "mlp (6), resnet (3), cnn (1)" in text
    assert "mlp widths=[3] classes=2" in text


def test_weights_that_are_not_finite_are_named(tmp_path, generator):
    zoo, _ = small_zoo(tmp_path, generator)
    zoo._shards[0].tensors["1.weight"][2, 0, 0] = float("nan")  # a private mapping: the file stays as it is
    assert "1 networks hold values that are not finite: [2]" in zoo.describe()
    assert "all weights are finite" in Zoo(tmp_path).describe()
