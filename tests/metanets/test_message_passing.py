"""The kernel against a loop over edges, with gradients; the disjoint union against networks one by one."""

from dataclasses import replace

import pytest
import torch

from tests.metanets._graphs import mlp, num_models, residual_cnn, singles, zoo_of_graphs
from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.metanets._message_passing import Adjacency, Sent, edge_pass, mean_by, segment_mean
from weightspace.metanets._union import unite


def example(edges=30, nodes=7, channels=5, hidden=6):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    edge_index = torch.randint(nodes - 1, (2, edges), generator=generator)  # the last node stays without edges
    parts = [random(nodes, hidden), random(nodes, hidden), random(nodes, channels), random(nodes, channels)]
    return edge_index, [random(edges, channels), *parts, random(channels, hidden), random(hidden, channels)]


def run(adjacency, e, *inputs, aggregate="mean"):
    """The kernel with its outputs in one tuple."""
    *parts, w_in, w_out = inputs
    messages, products, new = edge_pass(adjacency, e, sent=Sent(*parts), w_in=w_in, w_out=w_out, aggregate=aggregate)
    return (*messages, *products, new)


def loop(edge_index, e, *inputs, aggregate="mean"):
    """One edge at a time."""
    a, b, p, q, w_in, w_out = inputs
    into, out_of, ahead, back = (torch.zeros_like(side) for side in (a, a, p, p))
    new = []
    for k, (s, t) in enumerate(edge_index.t().tolist()):
        h = torch.relu(a[s] + b[t] + e[k] @ w_in)
        into, out_of = into.index_add(0, torch.tensor([t]), h[None]), out_of.index_add(0, torch.tensor([s]), h[None])
        ahead = ahead.index_add(0, torch.tensor([t]), (e[k] * p[s])[None])
        back = back.index_add(0, torch.tensor([s]), (e[k] * q[t])[None])
        new.append(e[k] + h @ w_out)
    if aggregate == "sum":
        return into, out_of, ahead, back, torch.stack(new)
    leaving, arriving = (torch.bincount(ends, minlength=len(a)).clamp(min=1)[:, None].double() for ends in edge_index)
    return into / arriving, out_of / leaving, ahead / arriving.sqrt(), back / leaving.sqrt(), torch.stack(new)


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_one_pass_equals_a_loop_over_edges_with_gradients(aggregate):
    edge_index, leaves = example()
    found = run(Adjacency.from_edge_index(edge_index, 7), *leaves, aggregate=aggregate)
    wanted = loop(edge_index, *leaves, aggregate=aggregate)
    weights = [torch.randn_like(w) for w in wanted]
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-10, atol=1e-12)
    sums = [sum((o * r).sum() for o, r in zip(side, weights, strict=True)) for side in (found, wanted)]
    for f, w in zip(*(torch.autograd.grad(total, leaves) for total in sums), strict=True):
        torch.testing.assert_close(f, w, rtol=1e-10, atol=1e-12)


def test_another_aggregate_is_refused():
    edge_index, leaves = example()
    with pytest.raises(ConfigurationError, match="edge_pass: found aggregate 'max', wanted 'mean' or 'sum'"):
        run(Adjacency.from_edge_index(edge_index, 7), *leaves, aggregate="max")


def test_gradcheck():
    edge_index, leaves = example(edges=8, nodes=4, channels=2, hidden=3)
    adjacency = Adjacency.from_edge_index(edge_index, 4)
    assert torch.autograd.gradcheck(lambda *inputs: run(adjacency, *inputs), leaves)


def test_no_edges():
    _, leaves = example(edges=0)
    *sums, e = run(Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.long), 7), *leaves)
    assert not any(total.any() for total in sums) and e.shape == (0, 5)
    sum(output.sum() for output in (*sums, e)).backward()
    assert [leaf.grad.shape for leaf in leaves] == [leaf.shape for leaf in leaves]


def test_segment_and_index_means():
    values = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    sizes = torch.tensor([2, 0, 3, 1])
    found = segment_mean(values, sizes)
    wanted = torch.stack([values[:2].mean(0), torch.zeros(3), values[2:5].mean(0), values[5]])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(mean_by(torch.tensor([0, 0, 2, 2, 2, 3]), values, 4), wanted, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, sizes), values)


def edges_of(union, graph):
    """Edges of one model of a union, with its nodes numbered as they come."""
    pairs = union.adjacency.ends - torch.tensor([0, union.adjacency.num_nodes])
    pairs = pairs[union.node_graph[pairs[:, 0]] == graph]
    numbers = torch.full((union.adjacency.num_nodes,), -1)
    mine = union.node_graph == graph
    numbers[mine] = torch.arange(int(mine.sum()))
    return sorted(map(tuple, numbers[pairs].tolist()))


def test_a_union_joins_no_two_networks_and_loses_no_edge():
    graphs = zoo_of_graphs()
    union = unite(graphs)
    assert union.num_models == sum(map(num_models, graphs))
    assert len(union.adjacency.ends) == sum(num_models(g) * g.num_edges for g in graphs)
    source, target = union.adjacency.ends.t() - torch.tensor([[0], [union.adjacency.num_nodes]])
    assert union.node_graph[source].equal(union.node_graph[target])
    assert edges_of(union, 0) == edges_of(union, 2) and len(edges_of(union, 0)) == graphs[0].num_edges


def test_both_orders_of_a_union_are_sorted():
    adjacency = unite(zoo_of_graphs()).adjacency
    source, target = adjacency.ends.t() - torch.tensor([[0], [adjacency.num_nodes]])
    assert source[adjacency.by_source].diff().min() >= 0 and target[adjacency.by_target].diff().min() >= 0
    assert torch.bincount(target, minlength=adjacency.num_nodes).equal(adjacency.in_degree)
    assert adjacency.by_source.sort().values.equal(torch.arange(len(source)))


def test_the_topology_is_computed_anew_when_an_index_tensor_changes():
    graph = residual_cnn(2)
    before = unite(graph).adjacency.ends.clone()
    graph.blocks[0].edge_index[0] = graph.blocks[0].edge_index[0].flip(0)
    graph.blocks[0].edge_index[1] = graph.blocks[0].edge_index[1].flip(0)
    after = unite(graph).adjacency.ends
    assert not after.equal(before) and sorted(after.tolist()) == sorted(before.tolist())
    assert unite(graph.relabel(torch.Generator().manual_seed(0))).adjacency.ends.shape == before.shape


def test_the_families_are_formed_anew_when_only_a_label_changes():
    graph = mlp((3, 4, 4, 2))
    assert len(unite(graph).edge_families) == 1
    relabelled = replace(graph, blocks=(replace(graph.blocks[0], edge_type="query"), *graph.blocks[1:]))
    assert len(unite(relabelled).edge_families) == 2 and len(unite(graph).edge_families) == 1


def test_a_union_made_in_inference_mode_serves_training_later():
    with torch.inference_mode():
        graph = mlp(models=2)
        unite(graph)
    adjacency = unite(graph).adjacency
    _, leaves = example(edges=len(adjacency.ends), nodes=adjacency.num_nodes)
    sum(output.sum() for output in run(adjacency, *leaves)).backward()
    assert all(leaf.grad.any() for leaf in leaves)


def test_bad_batches_are_named():
    with pytest.raises(WeightspaceError, match="empty sequence of graphs, wanted at least one ParameterGraph"):
        unite([])
    with pytest.raises(WeightspaceError, match=r"graphs\[1\] is a Tensor, wanted a ParameterGraph"):
        unite([mlp(), torch.zeros(3)])
    graph = mlp(models=4)
    twice = graph.replace(
        x=[s.x.unflatten(0, (2, 2)) for s in graph.sites],
        edge_attr=[b.edge_attr.unflatten(0, (2, 2)) for b in graph.blocks],
    )
    with pytest.raises(WeightspaceError, match=r"batch_shape \(2, 2\), wanted \(\) or \(B,\)"):
        unite(twice)


def test_networks_keep_their_order():
    graphs = zoo_of_graphs()
    union = unite(graphs)
    sizes = [g.num_nodes for g in singles(graphs)]
    assert torch.bincount(union.node_graph).tolist() == sizes
