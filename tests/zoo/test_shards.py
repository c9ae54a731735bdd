import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from weightspace.errors import ZooError
from weightspace.zoo import Zoo

from ._zoos import random_stack, rows, small_zoo, space_of


class Killed(BaseException):
    pass


@pytest.fixture
def folder(tmp_path, generator):
    small_zoo(tmp_path, generator, shards=((0, 3), (1, 2)))
    return tmp_path


def shard_of(folder, number):
    return next(folder.glob(f"{number:05d}-*.safetensors"))


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_renames_leaves_a_valid_zoo(folder, generator, monkeypatch, renames):
    done = []
    rename = os.replace

    def replace(*names):
        if len(done) == renames:
            raise Killed
        done.append(names)
        rename(*names)

    zoo = Zoo(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            zoo.append(space_of(0), random_stack(0, 2, generator), rows(0, 2))
    reopened = Zoo(folder)
    assert len(zoo) == len(reopened) == 5
    stacked = random_stack(1, 4, generator)
    reopened.append(space_of(1), stacked, rows(1, 4))
    assert reopened.numbers == {0, 1, 2}
    again = Zoo(folder)
    assert len(again) == 9 and torch.equal(again[5].state_dict["0.weight"], stacked["0.weight"][0])
    assert len(list(folder.glob("*.safetensors"))) == 3, "the interrupted shard is gone"


def test_a_shard_without_sidecar_does_not_count(folder):
    shard_of(folder, 1).with_suffix(".jsonl").unlink()
    assert len(Zoo(folder)) == 3


def assert_refused(folder, *words):
    with pytest.raises(ZooError) as error:
        Zoo(folder)
    for word in words:
        assert word in str(error.value)


def test_a_sidecar_without_shard_is_an_error(folder):
    shard = shard_of(folder, 1)
    shard.unlink()
    assert_refused(folder, shard.with_suffix(".jsonl").name, "a sidecar without shard", "delete the sidecar to go on")


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_shard_is_an_error(folder, keep):
    shard = shard_of(folder, 1)
    shard.write_bytes(shard.read_bytes()[:keep])
    assert_refused(folder, shard.name, "truncated or damaged", f"delete {shard.stem}.jsonl to go on")


def test_rows_that_do_not_match_are_an_error(folder):
    sidecar = shard_of(folder, 0).with_suffix(".jsonl")
    sidecar.write_text("".join(sidecar.read_text().splitlines(keepends=True)[:2]))
    assert_refused(folder, shard_of(folder, 0).name, "has 2 rows, wanted one per model")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 holds a list"),
        ('{"a": NaN}', "NaN"),
        ("[" * 99999, "line 2 is not JSON"),
    ],
)
def test_a_damaged_sidecar_is_an_error(folder, line, word):
    sidecar = shard_of(folder, 0).with_suffix(".jsonl")
    lines = sidecar.read_text().splitlines()
    sidecar.write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    assert_refused(folder, sidecar.name, word)


def rewrite(folder, number, change, metadata=None):
    path = shard_of(folder, number)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata or {"format": "weightspace-zoo-1", "signature": space_of(0).signature})


def test_a_shard_that_is_not_of_its_architecture_is_an_error(folder):
    rewrite(folder, 0, lambda t: t.pop("3.bias"))
    assert_refused(folder, "missing keys ['3.bias']")
    rewrite(folder, 0, lambda t: t.update({"3.bias": torch.zeros(3, 7)}))
    assert_refused(folder, "3.bias has shape (3, 7), wanted (3, 2)")


def test_a_foreign_safetensors_file_is_an_error(folder):
    rewrite(folder, 0, lambda t: None, {"format": "pt"})
    assert_refused(folder, "found format 'pt'", "not written by a zoo")
    rewrite(folder, 0, lambda t: None, {"format": "weightspace-zoo-1", "signature": "../../etc/passwd"})
    assert_refused(folder, "signature '../../etc/passwd'")


def test_a_missing_or_exchanged_architecture_is_an_error(folder):
    path = folder / "architectures" / f"{space_of(0).signature}.json"
    text = path.read_text()
    path.write_text(space_of(1).to_json())
    assert_refused(folder, "holds the architecture", space_of(0).signature)
    path.write_text(text[:50])
    assert_refused(folder, path.name, "not a weight space")
    path.unlink()
    assert_refused(folder, "its architecture", "is not there")


def test_a_folder_that_is_no_zoo_is_an_error(tmp_path):
    assert_refused(tmp_path / "nowhere", "found no folder architectures/", "zoo train")


def test_sidecars_hold_one_json_object_per_model(folder):
    lines = shard_of(folder, 0).with_suffix(".jsonl").read_text().splitlines()
    assert [json.loads(line)["test_accuracy"] for line in lines] == [0.0, 0.01, 0.02]
