"""PONITA on point clouds: symmetry in each mode, nearest neighbours, attributes of edges, lifted graphs."""

import pytest
import torch

from weightspace.errors import ConfigurationError, GeometryError
from weightspace.geometric import (
    PonitaPointCloud,
    lift_edges,
    nearest_neighbours,
    neighbours,
    orientation_grid,
    set_ponita_evaluation,
)

TIGHT = {"rtol": 1e-10, "atol": 1e-11}
SHAPE = {"channels": 6, "layers": 2, "basis_channels": 7, "layer_scale": 0.5}


def model(grid="lebedev-6", edges=3, *, inputs=(2, 1), outputs=(2, 1), edge_features=0):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return PonitaPointCloud(
            inputs[0],
            outputs[0],
            in_vectors=inputs[1],
            out_vectors=outputs[1],
            edge_features=edge_features,
            grid=grid,
            edges=edges,
            shape=SHAPE,
        ).double()


def cloud(generator, sizes=(7, 5), dim=3):
    count = sum(sizes)
    pos, x, vec = (torch.randn(count, *s, dtype=torch.float64, generator=generator) for s in ((dim,), (2,), (1, dim)))
    return pos, x, vec, torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def rotation(seed):
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double())[0]
    return matrix * torch.linalg.det(matrix)


@pytest.mark.parametrize("edges", [3, 1.5])
def test_symmetries_of_the_grid_translations_permutations_and_batches(edges, generator):
    net, (pos, x, vec, batch) = model(edges=edges), cloud(generator)
    scalars, vectors = net(pos, x, vec, batch)
    assert scalars.shape == (2, 2) and vectors.shape == (2, 1, 3) and vectors.abs().min() > 1e-6
    for turn in orientation_grid("lebedev-6").symmetries()[::7]:
        turned = net(pos @ turn.T, x, vec @ turn.T, batch)
        torch.testing.assert_close(turned, (scalars, vectors @ turn.T), **TIGHT)
    torch.testing.assert_close(net(pos + 3.0, x, vec, batch), (scalars, vectors), **TIGHT)
    order = torch.cat([torch.randperm(7, generator=generator), 7 + torch.randperm(5, generator=generator)])
    torch.testing.assert_close(net(pos[order], x[order], vec[order], batch), (scalars, vectors), **TIGHT)
    for g, part in enumerate([slice(0, 7), slice(7, 12)]):
        torch.testing.assert_close(net(pos[part], x[part], vec[part])[0], scalars[g : g + 1], **TIGHT)


@pytest.mark.parametrize("edges", [3, 1.5])
@pytest.mark.parametrize("grid", ["lebedev-6", "circle-4", None])
def test_pairs_are_shared_only_where_that_is_exact(edges, grid, generator):
    dim = 2 if grid == "circle-4" else 3
    pos, x, vec, batch = cloud(generator, dim=dim)
    net = model(grid, edges, inputs=(2, 0) if grid is None else (2, 1), outputs=(2, 0) if grid is None else (2, 1))
    inputs = (pos, x, None if grid is None else vec, batch)
    rows = []
    net.trunk.kernel.pair.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[0]))
    found = net(*inputs)
    set_ponita_evaluation(net, share_pairs=False)
    torch.testing.assert_close(net(*inputs), found, **TIGHT)
    assert (rows[0] < rows[2]) == isinstance(edges, float)  # nearest neighbours are not mutual


def test_attributes_of_edges_count_and_turn_sharing_off(generator):
    net, (pos, x, vec, batch) = model(edge_features=2), cloud(generator)
    edge_index = neighbours(pos, cutoff=2.0, batch=batch)[0]
    attr = torch.randn(edge_index.shape[1], 2, dtype=torch.float64, generator=generator)
    found = net(pos, x, vec, batch, edge_index, edge_attr=attr)
    set_ponita_evaluation(net, share_pairs=False)
    torch.testing.assert_close(net(pos, x, vec, batch, edge_index, edge_attr=attr), found, **TIGHT)
    assert (net(pos, x, vec, batch, edge_index, edge_attr=attr.flip(0))[0] - found[0]).abs().max() > 1e-4
    set_ponita_evaluation(net, kernel_rows=12)
    torch.testing.assert_close(net(pos, x, vec, batch, edge_index, edge_attr=attr), found, **TIGHT)


def test_points_with_orientations_of_their_own_turn_exactly(generator):
    net, (pos, x, vec, batch) = model("own", 2.0), cloud(generator)
    ori = torch.nn.functional.normalize(torch.randn(12, 3, dtype=torch.float64, generator=generator), dim=1)
    scalars, vectors = net(pos, x, vec, batch, ori=ori)
    assert vectors.abs().min() > 1e-6
    for turn in (rotation(1), -rotation(2)):
        turned = net(pos @ turn.T, x, vec @ turn.T, batch, ori=ori @ turn.T)
        torch.testing.assert_close(turned, (scalars, vectors @ turn.T), **TIGHT)
    assert (net(pos, x, vec, batch, ori=ori.flip(0))[0] - scalars).abs().max() > 1e-4


def test_the_plane_turns_with_its_grid(generator):
    net, (pos, x, vec, batch) = model("circle-6"), cloud(generator, dim=2)
    scalars, vectors = net(pos, x, vec, batch)
    sixth = torch.tensor(torch.pi / 3, dtype=torch.float64)
    turn = torch.stack([sixth.cos(), -sixth.sin(), sixth.sin(), sixth.cos()]).view(2, 2)
    torch.testing.assert_close(net(pos @ turn.T, x, vec @ turn.T, batch), (scalars, vectors @ turn.T), **TIGHT)
    mirrored = torch.tensor([[1.0, 0], [0, -1]]).double()
    assert (net(pos @ mirrored, x, vec @ mirrored, batch)[0] - scalars).abs().max() > 1e-4


def test_lifted_edges_are_the_published_cloud(generator):
    pos = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    bonds = torch.tensor([[0, 1, 1, 2, 3, 1], [1, 0, 2, 1, 1, 3]])
    lifted = lift_edges(pos, bonds)
    nodes = sorted((t, s) for s, t in bonds.t().tolist())
    assert lifted.point.tolist() == [t for t, _ in nodes]
    for k, (target, source) in enumerate(nodes):
        way = pos[source] - pos[target]
        torch.testing.assert_close(lifted.ori[k], way / way.norm(), **TIGHT)
    joined = {(s, t) for s, t in bonds.t().tolist()} | {(k, k) for k in range(4)}
    wanted = {
        (a, b)
        for a, (base_a, _) in enumerate(nodes)
        for b, (base_b, _) in enumerate(nodes)
        if a != b and (base_a, base_b) in joined
    }
    assert {tuple(e) for e in lifted.edge_index.t().tolist()} == wanted and len(lifted.edge_index.t()) == len(wanted)
    net = model("own", inputs=(0, 0))
    assert torch.isfinite(net(lifted.pos, ori=lifted.ori, edge_index=lifted.edge_index)[0]).all()


def test_nearest_neighbours_are_the_nearest(generator, monkeypatch):
    pos, _, _, batch = cloud(generator, (6, 1, 3))
    for at_once in (2**21, 7):
        monkeypatch.setattr("weightspace.geometric._knn._PAIRS_AT_ONCE", at_once)
        found = {tuple(e) for e in nearest_neighbours(pos, 3, batch=batch).t().tolist()}
        wanted = set()
        for t in range(len(pos)):
            others = [s for s in range(len(pos)) if s != t and batch[s] == batch[t]]
            wanted |= {(s, t) for s in sorted(others, key=lambda s: float((pos[s] - pos[t]).norm()))[:3]}
        assert found == wanted
    assert nearest_neighbours(pos[:0], 3).shape == (2, 0)


@pytest.mark.parametrize("edges", [3, 1.0])
def test_lone_and_coincident_points_are_finite(edges, generator):
    net = model(edges=edges)
    pos = torch.tensor([[0.0, 0, 0], [0, 0, 0], [5, 0, 0], [0, 0, 0.5]], dtype=torch.float64, requires_grad=True)
    x, vec = torch.randn(4, 2, generator=generator).double(), torch.randn(4, 1, 3, generator=generator).double()
    for count in (4, 1):
        scalars, vectors = net(pos[:count], x[:count], vec[:count])
        first = torch.autograd.grad(scalars.sum() + vectors.sum(), pos, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), list(net.parameters()), allow_unused=True)
        assert all(torch.isfinite(t).all() for t in (scalars, vectors, first, *second) if t is not None)


def test_every_parameter_learns_and_no_input_is_needed(generator):
    for net, inputs in ((model(), cloud(generator)), (model(inputs=(0, 0)), (cloud(generator)[0],))):
        scalars, vectors = net(*inputs)
        (scalars.square().sum() + vectors.square().sum()).backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_the_configuration_builds_the_same_model(generator):
    net = model()
    again = PonitaPointCloud(**net.config).double()
    again.load_state_dict(net.state_dict())
    inputs = cloud(generator)
    torch.testing.assert_close(again(*inputs), net(*inputs))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": None}, "found no x, wanted it in shape \\(12, 2\\)"),
        ({"vec": torch.zeros(12, 2, 3)}, "vec has shape \\(12, 2, 3\\), wanted \\(12, 1, 3\\)"),
        ({"ori": torch.zeros(12, 3)}, "found ori, wanted none"),
        ({"pos": torch.zeros(12, 2)}, "pos has shape \\(12, 2\\), wanted \\(N, 3\\)"),
        ({"edge_attr": torch.zeros(4, 2)}, "found edge_attr, wanted none"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, words, generator):
    pos, x, vec, batch = cloud(generator)
    with pytest.raises(GeometryError, match=words):
        model()(**({"pos": pos, "x": x, "vec": vec, "batch": batch} | change))


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ConfigurationError, match="vectors and grid=None"):
        PonitaPointCloud(1, 1, in_vectors=1, grid=None)
    with pytest.raises(GeometryError, match="found k=0"):
        nearest_neighbours(torch.zeros(2, 3), 0)
