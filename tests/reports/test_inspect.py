"""What `weightspace trace` shows and writes, and what each error says."""

import json
from pathlib import Path

import networkx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import weightspace as ws
from weightspace.cli import main
from weightspace.reports import SpaceFiles, inspect_network, write_graphml
from weightspace.zoo import build, named_network

NETS = """
import torch
from torch import nn

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.last = nn.Embedding(7, 4), nn.Linear(4, 2)

    def forward(self, tokens):
        return self.last(self.words(tokens).mean(1))

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, x, y):
        return self.a(x) + self.b(y)

def net():
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))

def cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 900, 2))

def deep():
    return nn.Sequential(*[nn.Linear(6, 6) for _ in range(70)])

def wide():
    return nn.Sequential(nn.Linear(1000, 600), nn.Linear(600, 2))

def normed():
    layers = []
    for _ in range(8):
        layers += [nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with factories."""
    (tmp_path / "nets_to_inspect.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


def test_every_output(folder, capsys):
    words = ["trace", "nets_to_inspect:net", "--input", "1,3"]
    words += ["--json", "s.json", "--graphml", "g.graphml", "--picture", "p.svg"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("4 parameters, 32 entries, 1 neuron group, log10 order 2.08\n")
    assert text.endswith("\nwrote s.json, g.graphml, p.svg\n")
    space = ws.WeightSpace.from_json((folder / "s.json").read_text())
    assert space.log10_order == ws.trace(net(), torch.zeros(1, 3)).log10_order
    assert (folder / "p.svg").read_text().lstrip().startswith("<?xml")
    assert networkx.read_graphml("g.graphml").number_of_nodes() == 10


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_pictures(folder, suffix, start):
    inspect_network("nets_to_inspect:net", inputs=["1,3"], files=SpaceFiles(picture=Path(f"p.{suffix}")))
    assert (folder / f"p.{suffix}").read_bytes().startswith(start)


def test_graphml_has_plain_attributes_and_weights_on_request(folder):
    module = net()
    graph = ws.trace(module, torch.zeros(1, 3)).to_graph(module.state_dict())
    write_graphml(graph, folder / "plain.graphml")
    plain = networkx.read_graphml(folder / "plain.graphml")
    assert plain.number_of_nodes() == graph.num_nodes and plain.number_of_edges() == graph.num_edges
    assert sorted(values.get("index", -1) for _, values in plain.nodes(data=True)) == [-1] * 5 + [0, 0, 1, 1, 2]
    values = [values for _, _, values in plain.edges(data=True)]
    assert all(v.keys() - {"id"} == {"edge_type", "parameter", "role", "taps", "attributes"} for v in values)
    assert {(v["edge_type"], v["parameter"], v["taps"]) for v in values} == {
        ("linear", "0.weight", 1),
        ("linear", "2.weight", 1),
    }
    assert all(json.loads(v["attributes"]) == {} for v in values)
    assert not any("weights" in v for _, v in plain.nodes(data=True))
    write_graphml(graph, folder / "full.graphml", weights=True)
    full = networkx.read_graphml(folder / "full.graphml", node_type=int)
    for block in graph.blocks:
        for (i, j), value in zip(block.edge_index.t().tolist(), block.edge_attr[:, 0].tolist(), strict=True):
            assert float(full.edges[i, j]["weights"]) == value
    biases = {repr(value) for value in (*module[0].bias.tolist(), *module[2].bias.tolist())}
    assert {v["weights"] for _, v in full.nodes(data=True) if "weights" in v} == biases


def test_whole_number_inputs_and_several_inputs():
    assert "words.weight" in inspect_network("nets_to_inspect:Tokens", inputs=["int64:1,5"])
    assert "4 parameters" in inspect_network("nets_to_inspect:Two", inputs=["1,3", "1,2"])


def test_inputs_are_guessed_where_they_can_be():
    assert "log10 order 2.08" in inspect_network("nets_to_inspect:net")
    assert "4*900" not in inspect_network("nets_to_inspect:cnn") and "log10 order 1.38" in inspect_network(
        "nets_to_inspect:cnn"
    )
    with pytest.raises(ws.ConfigurationError, match="no example inputs for Identity.*--input on the command line"):
        inspect_network("torch.nn:Identity")


def test_the_meta_device(folder):
    words = inspect_network("nets_to_inspect:wide", meta=True, files=SpaceFiles(json=Path("s.json")))
    assert "not verified: the module is on the meta device" in words
    assert named_network("nets_to_inspect:wide", meta=True).module[0].weight.is_meta
    files = SpaceFiles(graphml=Path("g.graphml"))
    assert "wrote g.graphml" in inspect_network("nets_to_inspect:net", meta=True, files=files)


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_checkpoints_with_a_module(folder, suffix):
    state = net().state_dict()
    save_file(state, "mine.safetensors") if suffix == "safetensors" else torch.save(state, f"mine.{suffix}")
    files = SpaceFiles(graphml=Path("g.graphml"), weights=True)
    text = inspect_network(f"mine.{suffix}", module="nets_to_inspect:net", files=files)
    assert "log10 order 2.08" in text
    bias = state["0.bias"][0].item()
    assert any(values.get("weights") == repr(bias) for _, values in networkx.read_graphml("g.graphml").nodes(data=True))
    on_meta = SpaceFiles(picture=Path("p.png"))
    assert "wrote p.png" in inspect_network(f"mine.{suffix}", module="nets_to_inspect:net", meta=True, files=on_meta)


def test_a_checkpoint_that_does_not_fit_its_module(capsys):
    torch.save(nn.Linear(3, 2).state_dict(), "other.pt")
    assert main(["trace", "other.pt", "--module", "nets_to_inspect:net"]) == 1
    error = capsys.readouterr().err
    assert "other.pt: does not fit the module: missing 0.weight, 0.bias, 2.weight, 2.bias; extra weight, bias" in error


def test_a_checkpoint_that_says_what_it_is():
    spec = {"factory": "mlp", "widths": [16], "image": [1, 4, 4]}
    torch.save({"state_dict": build(spec).state_dict(), "architecture": spec, "lr": 0.1}, "mine.pt")
    assert "1.weight" in inspect_network("mine.pt", inputs=["1,1,4,4"])
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), "architecture": spec}, "mine.pt")
    with pytest.raises(ws.CheckpointError, match="mine.pt: its specification 'architecture' does not build a module"):
        inspect_network("mine.pt", inputs=["1,1,4,4"])


def test_errors_of_checkpoints():
    torch.save(net().state_dict(), "mine.pt")
    words = (
        r"mine\.pt: found weights \('0\.weight' \(5, 3\), .* and 1 more\), but weights do not say how they are wired"
    )
    with pytest.raises(ws.CheckpointError, match=words):
        inspect_network("mine.pt")
    with pytest.raises(ws.CheckpointError, match=r"none\.pt: no such file; give a checkpoint, or package\.module:fact"):
        inspect_network("none.pt")
    torch.save(net(), "whole.pt")
    with pytest.raises(ws.CheckpointError, match="loading it would run code, so it is refused"):
        inspect_network("whole.pt", module="nets_to_inspect:net")
    Path("cut.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ws.CheckpointError, match="not a whole safetensors file"):
        inspect_network("cut.safetensors", module="nets_to_inspect:net")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (SpaceFiles(picture=Path("p.jpg")), r"picture: found p\.jpg, wanted a name that ends in \.png, \.svg, \.pdf"),
        (SpaceFiles(weights=True), "there is no file to write them to; give --graphml FILE"),
        (SpaceFiles(json=Path("no/s.json")), "the folder no does not exist; make it first"),
    ],
)
def test_errors_of_file_names_come_first(files, words):
    with pytest.raises(ws.ConfigurationError, match=words):
        inspect_network("no_such_package:net", files=files)


def test_what_needs_weights_says_so():
    for files in (SpaceFiles(picture=Path("p.png")), SpaceFiles(graphml=Path("g.graphml"), weights=True)):
        with pytest.raises(ws.WeightspaceError, match="a module on the meta device has n.*--meta, or give a"):
            inspect_network("nets_to_inspect:net", meta=True, files=files)


def test_large_graphs_are_refused_before_they_are_built(monkeypatch):
    def refuse(self, state):
        raise AssertionError("built")

    monkeypatch.setattr(ws.WeightSpace, "to_graph", refuse)
    words = r"has 1,602 nodes and 601,200 edges, at most 200,000 together are written; write the space \(--json\)"
    with pytest.raises(ws.WeightspaceError, match=words):
        inspect_network("nets_to_inspect:wide", files=SpaceFiles(graphml=Path("g.graphml")))
    with pytest.raises(ws.WeightspaceError, match="picture: the parameter graph has .* sites, at most 60 fit"):
        inspect_network("nets_to_inspect:deep", files=SpaceFiles(picture=Path("p.png")))


@pytest.mark.parametrize("text", ["int65:1,3", "nothing:1", "complex64:1,2", ":1"])
def test_unknown_dtypes(text):
    with pytest.raises(ws.ConfigurationError, match="found the dtype .* wanted e.g. float32, int64 or bool"):
        inspect_network("nets_to_inspect:net", inputs=[text])


def test_repeated_layers_share_a_line():
    text = inspect_network("nets_to_inspect:normed", inputs=["1,4,2,2"])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "{0,3,6,9,12,15,18,21}.bias 4 bias *.weight:0" in lines
    assert "1.{weight,bias,running_mean,running_var} 4 norm 0.weight:0" in lines
    assert lines[-1].startswith("{0-3}: entries that share a line; *: their layer's number; --all")
    full = inspect_network("nets_to_inspect:normed", inputs=["1,4,2,2"], everything=True)
    space = ws.trace(nn.Sequential(*[nn.Linear(6, 6) for _ in range(3)]), torch.zeros(1, 6))
    assert sum(line.startswith(tuple("0123456789")) for line in full.splitlines()) > 48
    assert space.describe() == space.describe(everything=True)


def test_vectors_on_other_axes_have_lines_of_their_own():
    axes = {f"{k}.{name}": (f"{name}{k}" if k else "x",) for k in range(12) for name in "ab"} | {"0.c": ("y",)}
    lines = [line.split() for line in ws.specify(dict.fromkeys(axes, (3,)), axes).describe().splitlines()]
    assert ["0.{a,b}", "3", "buffer", "x"] in lines and ["0.c", "3", "buffer", "y"] in lines
    assert ["1.a", "3", "buffer", "a1"] in lines and ["1.b", "3", "buffer", "b1"] in lines


def test_no_line_says_what_is_not_so():
    """Every parameter is on exactly one line of the short table, with the shape and axes of its own."""
    space = ws.trace(named_network("nets_to_inspect:normed", inputs=["1,4,2,2"]).module, torch.zeros(1, 4, 2, 2))
    table = space.describe().split("neuron group  ")[0].splitlines()[4:-1]
    found = [name for line in table for name in expanded(line.split()[0])]
    assert sorted(found) == sorted(space.parameters)


def expanded(name: str) -> list[str]:
    if "{" not in name:
        return [name]
    before, _, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    options: list[str] = []
    for part in inside.split(","):
        first, dash, last = part.partition("-")
        options += [str(n) for n in range(int(first), int(last) + 1)] if dash else [part]
    return [full for option in options for full in expanded(before + option + after)]
