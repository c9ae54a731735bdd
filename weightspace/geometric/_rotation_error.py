"""How far a model's outputs are from turning with its input."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor, nn

from weightspace.errors import GeometryError
from weightspace.geometric._orientation_grids import OrientationGrid, orientation_grid
from weightspace.geometric._ponita_layers import GridTensors, PonitaTrunk

TURNED_INPUTS = ("pos", "vec", "ori", "cell")
TURNED_OUTPUTS = ("vectors", "forces")


@dataclass(frozen=True)
class RotationError:
    """Relative errors of each output: root mean square of f(R x) - R f(x) over rotations, by that of f(x).

    Args:
        random: under random rotations.
        symmetries: largest under symmetries of the grid, improper ones included, at most 24 of them; empty without a
            grid.
    """

    random: dict[str, float]
    symmetries: dict[str, float]


@torch.no_grad()
def rotation_error(
    model: nn.Module,
    inputs: Mapping[str, Tensor | None],
    *,
    grids: Sequence[str | int] | None = None,
    rotations: int = 16,
    generator: torch.Generator | None = None,
) -> dict[str, RotationError]:
    """Measure how exactly a model turns with its input, once as it is or once for each of several grids.

    Among the inputs, pos, vec, ori and cell are turned; among the outputs (a mapping, or the pair of scalars and
    vectors of `PonitaPointCloud`), vectors and forces are compared with their turned values, all others with
    themselves. Energies count without references. Any model with such inputs and outputs can be measured.

    Args:
        model: a model of this room, such as `Ponita`.
        inputs: what it is called with, by name.
        grids: grids to put in place of the model's own, which stays as it is; weights do not depend on the grid.
        rotations: how many random ones.
        generator: draws them.

    Returns:
        By name of the grid ("model" where none is given and the model has none).

    Raises:
        GeometryError: grids are given, and the model has no trunk with a grid.

    Example:
        >>> from weightspace.geometric import Ponita
        >>> model = Ponita(channels=8, layers=1, basis_channels=8).double()
        >>> inputs = {"z": torch.tensor([8, 1, 1]), "pos": torch.randn(3, 3).double()}
        >>> error = rotation_error(model, inputs, grids=["lebedev-26"])["lebedev-26"]
        >>> error.symmetries["interaction_energy"] < 1e-10
        True
    """
    if grids is None:
        trunk = next((m for m in model.modules() if isinstance(m, PonitaTrunk)), None)
        grid = None if trunk is None or trunk.grid is None else _grid_of(trunk.grid)
        return {"model" if grid is None else grid.name: _measured(model, inputs, grid, rotations, generator)}
    found = {}
    state = None if generator is None else generator.get_state()
    for grid in map(orientation_grid, grids):
        if generator is not None and state is not None:
            generator.set_state(state)  # the same rotations for all
        found[grid.name] = _measured(_with_grid(model, grid), inputs, grid, rotations, generator)
    return found


def _with_grid(model: nn.Module, grid: OrientationGrid) -> nn.Module:
    """A copy of the model with another grid."""
    model = copy.deepcopy(model)
    trunks = [m for m in model.modules() if isinstance(m, PonitaTrunk) and m.grid is not None]
    if not trunks:
        raise GeometryError(f"rotation_error: found grids and a {type(model).__name__} without one, wanted grids=None")
    for trunk in trunks:
        old = trunk.grid
        assert old is not None
        trunk.grid = GridTensors(grid).to(old.ori_bits.device)
        trunk.shares = grid.antipode is not None
    return model


def _grid_of(tensors: GridTensors) -> OrientationGrid:
    ori, weights = (t.cpu() for t in tensors(torch.zeros((), dtype=torch.float64, device=tensors.ori_bits.device)))
    return OrientationGrid(ori, weights, None, tensors.name, 0)


def _measured(
    model: nn.Module,
    inputs: Mapping[str, Tensor | None],
    grid: OrientationGrid | None,
    rotations: int,
    generator: torch.Generator | None,
) -> RotationError:
    dim = inputs["pos"].shape[1] if inputs.get("pos") is not None else 3  # type: ignore[union-attr]
    random = [_random_rotation(dim, generator) for _ in range(rotations)]
    there = _outputs(model, inputs)
    squares = [_differences(model, inputs, there, turn) for turn in random]
    maps = [] if grid is None else list(grid.symmetries())
    own = [_differences(model, inputs, there, turn) for turn in maps[:: max(1, len(maps) // 24)]]
    return RotationError(
        {name: float(torch.stack([s[name] for s in squares]).square().mean().sqrt()) for name in there},
        {name: max(float(s[name]) for s in own) for name in there} if own else {},
    )


def _random_rotation(dim: int, generator: torch.Generator | None) -> Tensor:
    if dim == 2:
        angle = 2 * torch.pi * torch.rand((), generator=generator, dtype=torch.float64)
        return torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)]).view(2, 2)
    quaternion = torch.randn(4, generator=generator, dtype=torch.float64)
    return o3.quaternion_to_matrix(torch.nn.functional.normalize(quaternion, dim=0))


def _outputs(model: nn.Module, inputs: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    found = model(**inputs)
    if not isinstance(found, Mapping):
        found = dict(zip(("scalars", "vectors"), found, strict=True))
    if "interaction_energy" in found:
        found = {name: value for name, value in found.items() if name not in ("energy", "node_energy")}
    return {name: value for name, value in found.items() if value is not None and value.numel()}


def _differences(
    model: nn.Module, inputs: Mapping[str, Tensor | None], there: Mapping[str, Tensor], turn: Tensor
) -> dict[str, Tensor]:
    turned = {name: _turned(x, turn) if name in TURNED_INPUTS and x is not None else x for name, x in inputs.items()}
    here = _outputs(model, turned)
    wanted = {name: _turned(x, turn) if name in TURNED_OUTPUTS else x for name, x in there.items()}
    return {name: (here[name] - wanted[name]).norm() / wanted[name].norm() for name in there}


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    return x @ turn.to(x).T
