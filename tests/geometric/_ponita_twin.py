"""The plain evaluation of a PONITA trunk: a kernel for every edge, loops included, gather, multiply, scatter.

As the published code does it, with the weights of our modules; what the fast evaluations are compared with.
"""

import torch
from torch.nn.functional import gelu

from weightspace.geometric._pair_invariants import grid_invariants, monomials


def plain_trunk(trunk, x, edge_index, edge_vec, window):
    """Readouts (N, O, outputs) of features (N, O, C) on edges without loops; `window` a function of lengths or None."""
    ori, weights = trunk.orientations(x)
    loops = torch.arange(len(x)).expand(2, -1)
    source, target = torch.cat([edge_index, loops], dim=1)
    vec = torch.cat([edge_vec, edge_vec.new_zeros(len(x), 3)])
    basis = basis_mlp(trunk.kernel.pair, grid_invariants(vec, ori))  # (E + N, O, B)
    if window is not None:
        length = torch.cat([torch.linalg.vector_norm(edge_vec, dim=1), edge_vec.new_zeros(len(x))])
        basis = basis * window(length)[:, None, None]
    fiber_basis = basis_mlp(trunk.kernel.fiber, (ori @ ori.T)[..., None])  # (O, O, B)
    read = []
    for block, readout in zip(trunk.blocks, trunk.readouts, strict=True):
        kernel, fiber = block.conv.pair.linear(basis), block.conv.fiber(fiber_basis)
        first = torch.zeros_like(x).index_add(0, target, kernel * x[source])
        second = torch.einsum("boc,opc->bpc", first, fiber * weights[:, None, None]) + block.conv.bias
        x = x + block.linear_2(gelu(block.linear_1(block.norm(second))))
        read.append(readout(x))
    return sum(read) / len(read)


def basis_mlp(mlp, invariants):
    """The MLP of monomials, layer by layer."""
    return gelu(mlp[2](gelu(mlp[0](monomials(invariants, mlp.degree)))))
