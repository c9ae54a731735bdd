import torch

import weightspace as ws
from experiments._budgeted_training import schedule
from experiments._stacked_networks import StackedNetworks, rows_of
from experiments.experiments_page import PAGE, above, page, score
from weightspace.zoo import Zoo, build


def test_networks_are_taken_in_the_order_asked_for(tmp_path):
    zoo = Zoo.create(tmp_path / "zoo")
    for width in (3, 5, 3):
        module = build({"factory": "mlp", "widths": [width], "image": [1, 2, 2]})
        stacked = {name: torch.randn(4, *value.shape) for name, value in module.state_dict().items()}
        zoo.append(ws.trace(module, torch.zeros(1, 1, 2, 2)), stacked, [{"n": i} for i in range(4)])
    networks, index = StackedNetworks.of_zoo(zoo), torch.tensor([9, 1, 5, 0, 4, 11])
    graphs, rows = networks.take(index)
    biases = [row for graph in graphs for row in graph.sites[0].x.flatten(1)]
    wanted = [zoo.spaces[zoo[i].signature].to_graph(zoo[i].state_dict).sites[0].x.flatten() for i in index.tolist()]
    assert all(torch.equal(biases[row], bias) for row, bias in zip(rows.tolist(), wanted, strict=True))


def test_constants_are_taken_with_their_networks():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    stacked = {name: torch.stack([value + i for i in range(4)]) for name, value in module.state_dict().items()}
    graph = ws.trace(module, torch.zeros(5, 2)).to_graphs(stacked)
    taken = ws.trace(module, torch.zeros(5, 2)).to_state_dict(rows_of(graph, torch.tensor([3, 1])))
    assert all(torch.equal(taken[name], value[[3, 1]]) for name, value in stacked.items())


def test_the_learning_rate_rises_and_falls():
    rates = [schedule(k / 100, 0.1) for k in range(101)]
    assert rates[0] < 0.02 and max(rates) == rates[10] == 1 and rates[100] < 1e-9
    assert all(a > b for a, b in zip(rates[10:-1], rates[11:], strict=True))


def test_the_page_says_what_the_result_files_say():
    assert page(PAGE.read_text()) == PAGE.read_text()


def test_cells_of_the_tables():
    scores = {"r2": {"mean": 0.5, "deviation": 0.1, "values": [0.4, 0.6]}, "tau": {"mean": None}}
    seeds = [[0.2, 0.1, 0.3], [0.1, -0.1, 0.2]]
    row = {"scores": scores, "above_statistics": {"metric": "tau", "seeds": seeds}}
    assert score(row, "r2") == "0.500 ± 0.100" and score(row, "tau") == "none"
    assert above(row) == "+0.100 [-0.100, +0.200]" and above({}) == ""
