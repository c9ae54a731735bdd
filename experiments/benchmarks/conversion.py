"""How fast stacked networks become parameter graphs, against a plain copy of the same bytes.

One thread, batches of 256 CNNs of the Small CNN Zoo architecture (4,970 weights). Each repetition converts a batch and
reads every block; the copy clones one contiguous tensor of the same bytes and reads it.

Run: python experiments/benchmarks/conversion.py
"""

import argparse

import torch
from _measure import interleaved, medians, ratio, write
from torch import nn

import weightspace as ws

MODELS = 256


def small_cnn() -> nn.Sequential:
    """Three 3x3 convolutions of 16 channels with stride 2, global average pooling, ten classes."""
    layers: list[nn.Module] = []
    for width_in in (1, 16, 16):
        layers += [nn.Conv2d(width_in, 16, 3, 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def main(repeats: int) -> None:
    torch.set_num_threads(1)
    net = small_cnn()
    space = ws.trace(net, torch.zeros(1, 1, 28, 28))
    stacked = {key: torch.randn(MODELS, *value.shape) for key, value in net.state_dict().items()}
    flat = torch.cat([value.flatten() for value in stacked.values()])

    def convert() -> float:
        graph = space.to_graphs(stacked)
        return sum(float(b.edge_attr.sum()) for b in graph.blocks) + sum(float(s.x.sum()) for s in graph.sites)

    graphs = space.to_graphs(stacked)
    runs = {
        "to_graphs and read": convert,
        "copy and read": lambda: float(flat.clone().sum()),
        "to_state_dict": lambda: space.to_state_dict(graphs),
        "one network": lambda: space.to_graph({key: value[0] for key, value in stacked.items()}),
    }
    seconds = interleaved(runs, repeats=repeats)
    middle = medians(seconds)
    write(
        "conversion",
        {
            "models": MODELS,
            "weights": len(flat) // MODELS,
            "networks_per_second": {
                "to_graphs": MODELS / middle["to_graphs and read"],
                "plain copy": MODELS / middle["copy and read"],
                "to_state_dict": MODELS / middle["to_state_dict"],
                "to_graph, one by one": 1 / middle["one network"],
            },
            "to_graphs over plain copy (time)": ratio(seconds, "to_graphs and read", "copy and read"),
            "repeats": repeats,
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few repetitions")
    main(3 if parser.parse_args().smoke else 100)
