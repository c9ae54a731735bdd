import pytest
import torch

from weightspace.errors import StateDictError, ZooError
from weightspace.zoo import Zoo

from ._zoos import random_stack, rows, small_zoo, space_of


@pytest.fixture
def zoo(tmp_path, generator):
    small_zoo(tmp_path / "zoo", generator)
    return Zoo(tmp_path / "zoo")


@pytest.fixture
def states(tmp_path, generator):
    return small_zoo(tmp_path / "twin", generator)[1]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_what_was_written_is_read_bit_for_bit(tmp_path, generator):
    written, states = small_zoo(tmp_path, generator)
    for zoo in (written, Zoo(tmp_path)):
        assert len(zoo) == 10
        assert all(same(zoo[i].state_dict, state) for i, state in enumerate(states))
        assert [row["test_accuracy"] for row in zoo.attributes] == [i / 100 for i in range(10)]
    assert Zoo(tmp_path)[5].state_dict["1.num_batches_tracked"].dtype == torch.int64


def test_entries_are_copies_and_positions_are_python_positions(zoo):
    zoo[0].state_dict["1.weight"].zero_()
    assert zoo[0].state_dict["1.weight"].abs().sum() > 0
    assert same(zoo[-1].state_dict, zoo[9].state_dict) and zoo[-1].index == 9
    assert len(list(zoo)) == 10
    with pytest.raises(IndexError, match="network 10 of a zoo of 10"):
        zoo[10]


def test_spaces_come_back_from_the_folder(zoo):
    assert set(zoo.spaces) == {space_of(kind).signature for kind in range(3)}
    assert zoo.spaces[zoo[0].signature].to_json() == space_of(0).to_json()


def test_views_keep_order_and_nest(zoo):
    assert [e.attributes["test_accuracy"] for e in zoo.select(torch.tensor([7, 0, 4]))] == [0.07, 0.0, 0.04]
    assert len(zoo.select(family="mlp")) == 6
    nested = zoo.select(lambda row: row["test_accuracy"] >= 0.02).select(family="mlp").select([1])
    assert nested.attributes == [zoo.attributes[3]]
    assert list(nested.spaces) == [space_of(0).signature]
    assert len(zoo.select([])) == 0 and list(zoo.select([]).graphs()) == []
    with pytest.raises(ZooError, match="found positions from 10 to 10, wanted 0 to 9"):
        zoo.select([10])
    with pytest.raises(ZooError, match="this is a view"):
        zoo.select([0]).append(space_of(0), {}, [])


def check_batches(zoo, batches):
    seen = []
    for batch in batches:
        assert batch.attributes == [zoo.attributes[i] for i in batch.index]
        position = 0
        for graph in batch.graphs:
            back = zoo.spaces[graph.signature].to_state_dict(graph)
            for row in range(graph.batch_shape[0]):
                assert same({k: v[row] for k, v in back.items()}, zoo[int(batch.index[position])].state_dict)
                position += 1
        assert position == len(batch.index)
        seen += batch.index.tolist()
    return seen


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_graphs_give_every_network_once_in_the_order_of_index(zoo, generator, mixed, shuffle):
    batches = list(zoo.graphs(4, mixed=mixed, shuffle=shuffle, generator=generator))
    assert sorted(check_batches(zoo, batches)) == list(range(10))
    if mixed:
        assert [len(b.index) for b in batches] == [4, 4, 2]
        assert max(len(b.graphs) for b in batches) > 1
        assert all(len({g.signature for g in b.graphs}) == len(b.graphs) for b in batches)
    else:
        assert all(len(b.graphs) == 1 for b in batches)
    if shuffle:
        again = zoo.graphs(4, mixed=mixed, shuffle=True, generator=torch.Generator().manual_seed(1))
        assert [b.index.tolist() for b in batches] != [b.index.tolist() for b in again]


def test_graphs_of_a_view_count_positions_in_the_view(zoo, generator):
    view = zoo.select([8, 9, 2, 5])
    assert sorted(check_batches(view, view.graphs(3, mixed=True, shuffle=True, generator=generator))) == [0, 1, 2, 3]


def test_drop_last_leaves_out_small_batches(zoo):
    assert [len(b.index) for b in zoo.graphs(3, drop_last=True)] == [3, 3, 3]
    with pytest.raises(ZooError, match="found batch_size=0"):
        next(zoo.graphs(0))


def test_stacked_reads_across_shards_and_copies(zoo):
    stacked = zoo.stacked([8, 1, 0])
    for row, i in enumerate([8, 1, 0]):
        assert same({k: v[row] for k, v in stacked.items()}, zoo[i].state_dict)
    zoo.stacked([0, 1])["1.weight"].zero_()
    assert zoo[0].state_dict["1.weight"].abs().sum() > 0
    with pytest.raises(ZooError, match="found 2 networks of 2 architectures"):
        zoo.stacked([0, 5])


def test_constants_are_stored_for_every_network(tmp_path, generator):
    zoo = Zoo.create(tmp_path)
    stacked = random_stack(1, 2, generator)
    counters = {name: stacked.pop(name)[0] for name in list(stacked) if name.endswith("num_batches_tracked")}
    zoo.append(space_of(1), stacked, rows(1, 2), constants=counters)
    assert all(torch.equal(zoo[1].state_dict[name], value) for name, value in counters.items())


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, generator):
    zoo = Zoo.create(tmp_path)
    stacked = random_stack(0, 2, generator)
    with pytest.raises(StateDictError, match="missing '3.bias'"):
        zoo.append(space_of(0), {k: v for k, v in stacked.items() if k != "3.bias"}, rows(0, 2))
    broken = {k: v.clone() for k, v in stacked.items()}
    broken["1.weight"][1, 0, 0] = torch.nan
    with pytest.raises(StateDictError, match="not finite"):
        zoo.append(space_of(0), broken, rows(0, 2))
    with pytest.raises(ZooError, match="found 3 rows of attributes"):
        zoo.append(space_of(0), stacked, rows(0, 3))
    with pytest.raises(ZooError, match="attributes of model 1 cannot be written as JSON"):
        zoo.append(space_of(0), stacked, [{}, {"test_accuracy": float("nan")}])
    zoo.append(space_of(0), stacked, rows(0, 2), number=4)
    with pytest.raises(ZooError, match="has a shard number 4 already"):
        zoo.append(space_of(0), stacked, rows(0, 2), number=4)
    assert len(zoo) == len(Zoo(tmp_path)) == 2 and zoo.numbers == {4}


def test_modules_are_rebuilt_from_the_librarys_own_architectures_only(tmp_path, generator):
    zoo, _ = small_zoo(tmp_path, generator)
    module = zoo.module(4)
    assert not module.training and same(module.state_dict(), zoo[4].state_dict)
    assert module(torch.zeros(1, 1, 4, 4)).shape == (1, 2)
    wrong = [
        {"architecture": spec} for spec in ({"factory": "os:system"}, {"factory": "mlp", "widths": [10**9]}, "mlp")
    ]
    zoo.append(space_of(0), random_stack(0, 3, generator), wrong)
    with pytest.raises(ZooError, match="found factory 'os:system', wanted one of cnn"):
        zoo.module(10)
    with pytest.raises(ZooError, match="weights do not fit its specification"):
        zoo.module(11)
    with pytest.raises(ZooError, match="attribute 'architecture' is 'mlp', wanted a specification"):
        zoo.module(12)
