import csv
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightspace.errors import CheckpointError, ConfigurationError
from weightspace.zoo import Zoo, import_checkpoints


def net(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 1))


class Custom(nn.Linear):
    pass


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    return folder


def run(source, tmp_path, **options):
    return import_checkpoints(source, tmp_path / "zoo", **{"module": net, "progress": False} | options)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def states(zoo):
    return {entry.attributes["file"]: entry for entry in zoo}


def same(state, module):
    wanted = module.state_dict()
    return state.keys() == wanted.keys() and all(torch.equal(state[k], wanted[k]) for k in wanted)


def test_all_formats_wrappers_and_prefixes_are_read(source, tmp_path):
    nets = [net() for _ in range(6)]
    torch.save(nets[0].state_dict(), source / "a.pt")
    torch.save({"state_dict": nets[1].state_dict(), "best_prec1": 91.5, "optimizer": {"lr": 1}}, source / "b.th")
    torch.save({"model_state_dict": nets[2].state_dict(), "epoch": torch.tensor(7)}, source / "deep" / "c.pth")
    save_file(nets[3].state_dict(), source / "d.safetensors")
    torch.save({f"module._orig_mod.{k}": v for k, v in nets[4].state_dict().items()}, source / "e.pt")
    torch.save(dict(nets[5].state_dict()) | {"label": 3, "loss": float("nan")}, source / "f.pt")
    summary = run(source, tmp_path)
    found = states(Zoo(tmp_path / "zoo"))
    assert (summary.networks, summary.imported, summary.architectures, summary.ignored) == (6, 6, 1, ("optimizer",))
    names = ["a.pt", "b.th", "deep/c.pth", "d.safetensors", "e.pt", "f.pt"]
    assert all(same(found[name].state_dict, module) for name, module in zip(names, nets, strict=True))
    assert found["b.th"].attributes == {"file": "b.th", "best_prec1": 91.5}
    assert found["deep/c.pth"].attributes["epoch"] == 7
    assert found["f.pt"].attributes == {"file": "f.pt", "label": 3, "loss": None}


def test_attributes_come_from_the_csv_file_and_win(source, tmp_path):
    torch.save({"state_dict": net().state_dict(), "accuracy": 0.1}, source / "a.pt")
    table = [{"file": "a.pt", "accuracy": "0.9", "epochs": "12", "name": "first", "note": "", "size": "inf"}]
    run(source, tmp_path, attributes=write_csv(tmp_path / "t.csv", table))
    row = Zoo(tmp_path / "zoo").attributes[0]
    assert row == {"file": "a.pt", "accuracy": 0.9, "epochs": 12, "name": "first", "size": "inf"}


def test_factory_arguments_make_several_architectures(source, tmp_path):
    rows = []
    for i, width in enumerate([3, 5, 3, 5]):
        torch.save(net(width).state_dict(), source / f"{i}.pt")
        rows.append({"file": f"{i}.pt", "factory_args": json.dumps({"width": width})})
    summary = run(source, tmp_path, attributes=write_csv(tmp_path / "t.csv", rows))
    zoo = Zoo(tmp_path / "zoo")
    assert summary.architectures == 2 and summary.networks == 4
    assert sorted(len(index) for index in zoo.positions.values()) == [2, 2]
    assert len(zoo.select(factory_args={"width": 5})) == 2


def test_a_second_call_goes_on_where_the_first_stopped(source, tmp_path):
    torch.save(net().state_dict(), source / "a.pt")
    torch.save({"0.weight": torch.zeros(1)}, source / "b.pt")
    with pytest.raises(CheckpointError):
        run(source, tmp_path)
    torch.save(net().state_dict(), source / "b.pt")
    assert run(source, tmp_path).imported == 2
    torch.save(net().state_dict(), source / "c.pt")
    summary = run(source, tmp_path)
    assert (summary.networks, summary.imported) == (3, 1)


def test_shards_are_written_as_they_fill(source, tmp_path, monkeypatch):
    monkeypatch.setattr("weightspace.zoo._import.SHARD_MODELS", 2)
    for i in range(5):
        torch.save(net().state_dict(), source / f"{i}.pt")
    run(source, tmp_path)
    assert len(list((tmp_path / "zoo").glob("*.safetensors"))) == 3
    assert len(Zoo(tmp_path / "zoo")) == 5


def test_counters_that_old_files_lack_are_filled_in(source, tmp_path):
    state = {k: v for k, v in net().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, source / "a.pt")
    run(source, tmp_path)
    assert Zoo(tmp_path / "zoo")[0].state_dict["1.num_batches_tracked"] == 0


def refused(source, tmp_path, **options):
    with pytest.raises((CheckpointError, ConfigurationError)) as error:
        run(source, tmp_path, **options)
    return str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_needs_a_class_is_refused_by_name(source, tmp_path, legacy):
    torch.save({"model": Custom(2, 2)}, source / "a.pt", _use_new_zipfile_serialization=not legacy)
    message = refused(source, tmp_path)
    assert "a.pt: the pickle needs " in message and "test_import.Custom" in message
    assert "torch.save(model.state_dict(), path)" in message


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "cut"])
def test_a_damaged_file_is_named(source, tmp_path, suffix, content):
    path = source / f"a{suffix}"
    if content == "cut":
        (save_file if suffix == ".safetensors" else torch.save)(net().state_dict(), path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    message = refused(source, tmp_path)
    assert f"a{suffix}: " in message and ("damaged" in message or "not a" in message)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, torch.zeros(3), {"state_dict": {"a": 1}}])
def test_a_file_without_state_dict_is_refused(source, tmp_path, content):
    torch.save(content, source / "a.pt")
    assert "wanted a state_dict (name -> tensor)" in refused(source, tmp_path)


def test_no_key_is_dropped_silently(source, tmp_path):
    state = net().state_dict()
    state["extra.weight"] = state.pop("3.bias")
    state["0.weight"] = torch.zeros(2, 3)
    torch.save(state, source / "a.pt")
    message = refused(source, tmp_path)
    assert "missing 3.bias" in message and "extra extra.weight" in message
    assert "0.weight has shape (2, 3), wanted (3, 2)" in message


def test_wrong_numbers_are_refused(source, tmp_path):
    state = net().state_dict()
    torch.save(state | {"3.bias": torch.tensor([torch.inf])}, source / "a.pt")
    assert "a.pt: 3.bias hold values that are not finite" in refused(source, tmp_path)
    torch.save(state | {"3.bias": torch.tensor([1])}, source / "a.pt")
    assert "3.bias has dtype torch.int64" in refused(source, tmp_path)


def test_bad_tables_are_refused(source, tmp_path):
    torch.save(net().state_dict(), source / "a.pt")
    table = tmp_path / "t.csv"

    def message(rows):
        return refused(source, tmp_path, attributes=write_csv(table, rows))

    assert "wanted a column 'file'" in message([{"path": "a.pt"}])
    assert "1 files are listed, but not in the folder, e.g. b.pt" in message([{"file": "a.pt"}, {"file": "b.pt"}])
    assert "1 files are listed twice, e.g. a.pt" in message([{"file": "a.pt"}] * 2)
    assert "factory_args of a.pt is no JSON" in message([{"file": "a.pt", "factory_args": "{"}])
    assert 'wanted an object like {"depth": 20}' in message([{"file": "a.pt", "factory_args": "3"}])
    assert "callable with {'depth': 2}" in message([{"file": "a.pt", "factory_args": '{"depth": 2}'}])
    table.write_text("file,x\na.pt\n")
    assert "more or fewer cells" in refused(source, tmp_path, attributes=table)
    torch.save(net().state_dict(), source / "z.pt")
    assert "1 files are in the folder, but not listed, e.g. z.pt" in message([{"file": "a.pt"}])
    assert "cannot be read as CSV" in refused(source, tmp_path, attributes=tmp_path / "none.csv")


def test_an_empty_folder_and_a_useless_factory_are_refused(source, tmp_path):
    assert "found no .pt, .pth" in refused(source, tmp_path)
    torch.save(net().state_dict(), source / "a.pt")
    assert "returned a int, wanted a torch.nn.Module" in refused(source, tmp_path, module=lambda: 3)
    assert "wanted package.module:factory" in refused(source, tmp_path, module="nonsense")
    assert "no example inputs for Embedding" in refused(source, tmp_path, module=lambda: nn.Embedding(3, 2))
