"""What the stages of the demo do."""

import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.images import load_images
from weightspace.measures import METRICS, bootstrap
from weightspace.metanets import GMN, DeepSets, MeanBaseline, WeightStatistics, from_pretrained
from weightspace.reports import draw_parameter_graph
from weightspace.runner import Runner
from weightspace.tasks import AttributePrediction, GraphBatch, Optimisation, ZooData, predicted_accuracy, train_in
from weightspace.zoo import Zoo, ZooConfig, train_zoo

EPOCHS = {"GMN": 25, "DeepSets": 12}
METANET, ACCURACY = "GMN", "test_accuracy"


@dataclass(frozen=True)
class Demo:
    """One demo: its folder and settings, and a method per stage that returns JSON values.

    Args:
        out: its folder.
        config: of the zoo; its seed is the seed of everything.
        data_root: folder of full data sets.
        progress: show progress bars.
    """

    out: Path
    config: ZooConfig
    data_root: str | Path | None
    progress: bool

    @cached_property
    def data(self) -> ZooData:
        """The trained zoo, split by run."""
        data = ZooData(self.out / "zoo", seed=self.config.seed)
        data.setup()
        return data

    @property
    def accuracy(self) -> Tensor:
        """True test accuracy of every network."""
        return self.data.target[ACCURACY]

    def train_zoo(self) -> dict[str, Any]:
        """Stage 1."""
        train_zoo(self.config, self.out / "zoo", data_root=self.data_root, progress=self.progress)
        accuracy = self.accuracy
        architectures = len(self.data.zoo.spaces)
        return {
            "line": f"{len(accuracy)} networks of {architectures} architectures, test accuracy "
            f"{accuracy.min():.2f} to {accuracy.max():.2f}, median {accuracy.median():.2f}"
        }

    def convert(self) -> dict[str, Any]:
        """Stage 2: graphs of all networks, and the way back with nodes and edges reordered."""
        generator = torch.Generator().manual_seed(self.config.seed)
        zoo = self.data.zoo
        exact = nodes = edges = 0
        for batch in zoo.graphs(256):
            [graph] = batch.graphs
            state = zoo.stacked(batch.index)
            back = zoo.spaces[graph.signature].to_state_dict(graph.relabel(generator))
            exact += int(_equal(state, back).sum())
            nodes += graph.num_nodes * len(batch.index)
            edges += graph.num_edges * len(batch.index)
        found = {"networks": len(zoo), "exact": exact, "nodes": nodes, "edges": edges}
        line = (
            f"{nodes:,} nodes, {edges:,} edges; the way back is exact, bit for bit, for {exact} of {len(zoo)} networks"
        )
        return found | {"line": line}

    def fit_baselines(self) -> dict[str, Any]:
        """Stage 3."""
        train, test = self._part("train"), self._part("test")
        methods = {}
        plain: dict[str, MeanBaseline | WeightStatistics] = {
            "mean": MeanBaseline(),
            "weight statistics + boosting": WeightStatistics(seed=self.config.seed),
        }
        for name, baseline in plain.items():
            start = time.perf_counter()
            prediction = baseline.fit(train.graphs, train.target[ACCURACY]).predict(test.graphs)
            methods[name] = _method(prediction, test, time.perf_counter() - start)
        methods["DeepSets"], _ = self._train("deep_sets", partial(DeepSets, 1, channels=32), EPOCHS["DeepSets"])
        return {"line": _taus(methods), "methods": methods}

    def train_metanet(self) -> dict[str, Any]:
        """Stage 4."""
        method, history = self._train(
            "metanet", partial(GMN, 1, channels=64, edge_channels=16, layers=4), EPOCHS["GMN"]
        )
        return {"line": _taus({METANET: method}), "methods": {METANET: method}, "learning_curve": history}

    def check_symmetry(self) -> dict[str, Any]:
        """Stage 5: a random group element of every test network, and what it changes."""
        metanet = from_pretrained(self.out / "metanet" / "model")
        images = load_images(self.config.data, self.data_root).test_x.double()
        generator = torch.Generator().manual_seed(self.config.seed)
        checks = [_move(self.data.zoo, batch, metanet, images, generator) for batch in self.data.whole("test")]
        moved, exact, weights, function, prediction = (torch.cat(column) for column in zip(*checks, strict=True))
        rows = {
            "networks moved by a random group element": f"{int(moved.sum())} of {len(moved)}",
            "largest relative change of a weight": f"{weights.max():.2g}",
            "largest relative change of the logits on all test images (float64)": f"{function.max():.1e}",
            "largest change of the predicted accuracy (float32)": f"{prediction.max():.1e}",
            "way back from the moved graph, reordered, bit for bit": f"{int(exact.sum())} of {len(moved)}",
        }
        line = (
            f"logits change by at most {function.max():.1e} (relative), predictions by at most {prediction.max():.1e}, "
            f"way back exact for {int(exact.sum())} of {len(moved)}"
        )
        return {"line": line, "rows": [{"what": what, "value": value} for what, value in rows.items()]}

    def draw(self) -> str:
        """Draw the graph of the best test network with at most a dozen sites as `graph.png`; returns its caption."""
        zoo, index = self.data.zoo, self.data.split.test.tolist()
        spaces = zoo.spaces
        best = max(index, key=lambda i: (len(spaces[zoo[i].signature].sites) <= 12, self.accuracy[i].item()))
        entry = zoo[best]
        graph = spaces[entry.signature].to_graph(entry.state_dict)
        draw_parameter_graph(graph).savefig(self.out / "graph.png", dpi=130)
        family = entry.attributes["family"]
        size = f"{graph.num_nodes} nodes, {graph.num_edges} edges"
        return f"A {family} of the test part with accuracy {self.accuracy[best]:.3f}: {size}."

    def _train(
        self, folder: str, make: Callable[[], nn.Module], epochs: int
    ) -> tuple[dict[str, Any], list[dict[str, float]]]:
        start = time.perf_counter()
        torch.manual_seed(self.config.seed)
        task = AttributePrediction(make(), Optimisation(learning_rate=4e-3))
        train_in(self.out / folder, task, self.data, epochs=epochs, progress=self.progress)
        test = self._part("test")
        with torch.no_grad():
            prediction = predicted_accuracy(task.metanet.eval(), test.graphs)
        return _method(prediction, test, time.perf_counter() - start), task.history

    def _part(self, part: str) -> GraphBatch:
        """A whole part as one batch, networks in an order that is always the same."""
        batches = list(self.data.whole(part))
        graphs = tuple(graph for batch in batches for graph in batch.graphs)
        target = {ACCURACY: torch.cat([b.target[ACCURACY] for b in batches])}
        return GraphBatch(graphs, target, torch.cat([b.index for b in batches]))


def _method(prediction: Tensor, test: GraphBatch, seconds: float) -> dict[str, Any]:
    scores = {name: astuple(bootstrap(name, prediction, test.target[ACCURACY])) for name in METRICS}
    return scores | {"prediction": prediction.tolist(), "index": test.index.tolist(), "seconds": seconds}


def _taus(methods: Mapping[str, Mapping[str, Any]]) -> str:
    values = {name: method["kendall_tau"][0] for name, method in methods.items()}
    return "tau on the test networks: " + ", ".join(f"{name} {v:.3f}" for name, v in values.items() if v == v)


def _equal(state: Mapping[str, Tensor], back: Mapping[str, Tensor]) -> Tensor:
    """Whether every key of a network is equal, one answer per row of the stacked tensors."""
    models = len(next(iter(state.values())))
    equal = [(state[key] == back[key]).reshape(models, -1).all(1) for key in state]
    return torch.stack(equal).all(0)


def _move(
    zoo: Zoo, batch: GraphBatch, metanet: nn.Module, images: Tensor, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Per network: moved, way back exact, change of weights and of the function (relative), and of the prediction."""
    [graph] = batch.graphs
    space, state = zoo.spaces[graph.signature], zoo.stacked(batch.index)
    acted = space.act(space.random_element(generator, n=len(batch.index)), state)
    runner = Runner(space, zoo.module(int(batch.index[0])).double())
    before, after = runner(_double(state), images), runner(_double(acted), images)  # (B, N, classes)
    moved = space.to_graphs(acted)
    exact = _equal(acted, space.to_state_dict(moved.relabel(generator)))
    with torch.no_grad():
        change = predicted_accuracy(metanet, moved) - predicted_accuracy(metanet, graph)
    old, new = _flat(state), _flat(acted)
    weights = (new - old).abs().amax(1) / old.abs().amax(1)
    function = (after - before).abs().amax((1, 2)) / before.abs().amax((1, 2))
    return weights > 0, exact, weights, function, change.abs()


def _double(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.double() if value.is_floating_point() else value for key, value in state.items()}


def _flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten(1) for value in state.values() if value.is_floating_point()], 1)
