"""The checks of `AtomisticModelTests`: each raises `AssertionError` with what was found against what was wanted."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from weightspace.geometric import AbstractAtomisticModel, ForceField
from weightspace.testing._geometric_samples import Atoms, cluster, joined, rotation

Model = AbstractAtomisticModel
STEP = 1e-4  # Å, of central differences
DIFFERENCE_TOLERANCE = 1e-6


def assert_close(found: Tensor, wanted: Tensor, tolerance: float, what: str, *, scale: float = 1e-3) -> None:
    """Largest difference at most `tolerance` times the largest value, which counts at least `scale`."""
    assert found.shape == wanted.shape, f"{what}: found shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}"
    if not wanted.numel():
        return
    found, wanted = found.detach(), wanted.detach()
    size = max(scale, float(wanted.abs().max()))
    error = float((found - wanted).abs().max())
    assert error <= tolerance * size, f"{what}: differs by {error:.3g}, wanted at most {tolerance:g} of {size:.3g}"


def assert_equal_outputs(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Sequence[str], tolerance: float, what: str
) -> None:
    """Each of the named outputs."""
    for name in names:
        assert_close(found[name], wanted[name], tolerance, f"{name} of {what}")


def assert_rotates(
    model: Model,
    atoms: Atoms,
    matrix: Tensor,
    names: Sequence[str],
    transformed: Callable[[str, Tensor, Tensor], Tensor],
    tolerance: float,
) -> None:
    """Energies are invariant; forces and named outputs transform."""
    field = ForceField(model).eval()
    before, after = atoms(field), atoms.at(atoms.pos @ matrix.t())(field)
    kind = "rotated" if torch.linalg.det(matrix) > 0 else "inverted"
    for name in ("interaction_energy", "node_energy"):
        assert_close(after[name], before[name], tolerance, f"{name} of {kind} atoms")
    assert_close(after["forces"], before["forces"] @ matrix.t(), tolerance, f"forces of {kind} atoms")
    for name in names:
        assert_close(after[name], transformed(name, before[name], matrix), tolerance, f"{name} of {kind} atoms")


def assert_crystal_rotates(model: Model, atoms: Atoms, tolerance: float) -> None:
    """Energies, forces and stress of a periodic system."""
    field, matrix = ForceField(model).eval(), rotation(3)
    assert atoms.cell is not None
    before, after = atoms(field), atoms.at(atoms.pos @ matrix.t(), atoms.cell @ matrix.t())(field)
    assert_close(after["energy"], before["energy"], tolerance, "energy of a rotated crystal")
    assert_close(after["forces"], before["forces"] @ matrix.t(), tolerance, "forces of a rotated crystal")
    assert_close(after["stress"], matrix @ before["stress"] @ matrix.t(), tolerance, "stress of a rotated crystal")


def assert_permutes(model: Model, atoms: Atoms, names: Sequence[str], tolerance: float) -> None:
    """Atoms in another order within each graph."""
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(atoms.z), generator=generator)
    order = shuffled[torch.argsort(atoms.batch[shuffled], stable=True)]
    field = ForceField(model).eval()
    before = atoms(field)
    after = replace(atoms, z=atoms.z[order], pos=atoms.pos[order])(field)
    assert_close(after["energy"], before["energy"], tolerance, "energy of permuted atoms")
    for name in ("forces", "node_energy", *names):
        assert_close(after[name], before[name][order], tolerance, f"{name} of permuted atoms")


def assert_batches(model: Model, graphs: Sequence[Atoms], tolerance: float) -> None:
    """A batch against its graphs one by one, with and without a batch vector."""
    field = ForceField(model).eval()
    together = joined(graphs)(field)
    alone = [field(graph.z, graph.pos) for graph in graphs]
    for name in ("energy", "node_energy", "forces"):
        assert_close(together[name], torch.cat([a[name] for a in alone]), tolerance, f"{name} of graphs in a batch")


def assert_supercell(model: Model, atoms: Atoms, tolerance: float) -> None:
    """A crystal against two, and eight, of its cells, and with atoms moved by lattice vectors."""
    field = ForceField(model).eval()
    assert atoms.cell is not None
    cell, small = atoms.cell[0], atoms(field)
    for repeats in ((2, 1, 1), (2, 2, 2)):
        shifts = torch.cartesian_prod(*[torch.arange(float(n)) for n in repeats]).to(cell)
        pos = (atoms.pos + (shifts @ cell)[:, None]).flatten(0, 1)
        large = Atoms(atoms.z.repeat(len(shifts)), pos, atoms.batch.repeat(len(shifts)))
        found = large.at(pos, (cell * torch.tensor(repeats).to(cell)[:, None])[None])(field)
        assert_close(found["energy"], len(shifts) * small["energy"], tolerance, "energy of a supercell")
        assert_close(found["forces"], small["forces"].repeat(len(shifts), 1), tolerance, "forces of a supercell")
        assert_close(found["stress"], small["stress"], tolerance, "stress of a supercell")
    wrapped = atoms.pos.clone()
    wrapped[0] += 2 * cell[0] - cell[2]
    moved = atoms.at(wrapped)(field)
    assert_close(moved["energy"], small["energy"], tolerance, "energy with an atom moved by lattice vectors")


def assert_sensitive(model: Model, atoms: Atoms) -> None:
    """Forces are not zero, and other elements have other energies."""
    field = ForceField(model).eval()
    before = atoms(field)
    assert float(before["forces"].abs().max()) > 1e-6, "forces are zero: the energy does not depend on positions"
    other = [z for z in model.elements if z != int(atoms.z[0])]
    if other:
        changed = atoms.z.clone()
        changed[0] = other[0]
        after = replace(atoms, z=changed)(field)
        difference = after["interaction_energy"] - before["interaction_energy"]
        assert float(difference.abs().max()) > 1e-8, "the energy does not depend on elements"


def assert_isolated(model: Model, atoms: Atoms, tolerance: float) -> None:
    """A cluster with an atom far away."""
    field = ForceField(model).eval()
    far = atoms.pos[:1] + 100.0
    z, pos = torch.cat([atoms.z, atoms.z[:1]]), torch.cat([atoms.pos, far])
    found = field(z, pos)
    assert all(bool(torch.isfinite(value).all()) for value in found.values()), (
        "outputs with an isolated atom: not finite"
    )
    if model.cutoff is None:
        return
    single = field(z[:1], far)
    assert_close(found["energy"], atoms(field)["energy"] + single["energy"], tolerance, "energy with an isolated atom")
    assert_close(found["forces"][-1:], torch.zeros_like(far), tolerance, "force on an isolated atom")


def assert_finite_when_degenerate(model: Model) -> None:
    """One atom, no edges, coincident points (found, and handed in as edges without length), atoms of other graphs."""
    model = copy.deepcopy(model).train()
    atoms = cluster(model, 3, 1)
    none = torch.zeros(2, 0, dtype=torch.long)
    same = atoms.pos.clone()
    same[1] = same[0]
    every = (~torch.eye(3, dtype=torch.bool)).nonzero().t()
    cases = {
        "one atom": (atoms.z[:1], atoms.pos[:1], None, None),
        "no edges": (atoms.z, atoms.pos, None, none),
        "coincident points": (atoms.z, same, None, None),
        "all points in one place": (atoms.z, same[:1].expand(3, 3), None, None),
        "an edge without length": (atoms.z, same, None, every),
        "a graph of one atom": (atoms.z, atoms.pos, torch.tensor([0, 0, 1]), None),
    }
    for what, inputs in cases.items():
        model.zero_grad()
        found = ForceField(model).train()(*inputs)
        for name, value in found.items():
            assert bool(torch.isfinite(value).all()), f"{name} is not finite for {what}"
        loss = found["forces"].square().sum() + found["energy"].square().sum()
        loss.backward()
        for name, parameter in model.named_parameters():
            finite = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
            assert finite, f"the gradient of a force loss to {name} is not finite for {what}"


def assert_lines(model: Model, tolerance: float) -> None:
    """Atoms on the axes, against a line in a random direction; also a line of three with a fourth atom on it."""
    model = copy.deepcopy(model).train()
    atoms = cluster(model, 4, 2)
    along = torch.tensor([0.0, 1.0, 2.1, 3.4], dtype=torch.float64)[:, None]
    first: dict[str, Tensor] | None = None
    general = rotation(5)[:1]
    signs = torch.eye(3, dtype=torch.float64)
    for axis in (general, *signs.split(1), *(-signs).split(1)):
        model.zero_grad()
        found = ForceField(model).train()(atoms.z, along * axis)
        pulls = found["forces"] @ axis[0]  # (N,)
        first = first or {"energy": found["energy"].detach(), "pulls": pulls.detach()}
        assert_close(found["energy"], first["energy"], tolerance, f"energy of a line along {axis[0].tolist()}")
        assert_close(pulls, first["pulls"], tolerance, f"forces of a line along {axis[0].tolist()}")
        across = found["forces"] - pulls[:, None] * axis
        assert_close(
            across, torch.zeros_like(across), tolerance, f"forces across a line along {axis[0].tolist()}", scale=1
        )
        found["forces"].square().sum().backward()
        for name, parameter in model.named_parameters():
            finite = parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
            assert finite, f"the gradient of a force loss to {name} is not finite for a line along {axis[0].tolist()}"


def assert_smooth(model: Model, smoothness: int) -> None:
    """One atom leaves the reach of another while it keeps a third as neighbour."""
    cutoff = float(model.cutoff or 0)
    z = cluster(model, 3, 4).z
    direction = rotation(6)[0]
    still = torch.stack([torch.zeros(3, dtype=torch.float64), 0.45 * cutoff * rotation(7)[0]])

    def derivatives(distance: float) -> list[Tensor]:
        s = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        values = [model(z, torch.cat([still, (s * direction)[None]]))["energy"].sum()]
        for _ in range(2):
            values.append(torch.autograd.grad(values[-1], s, create_graph=True, materialize_grads=True)[0])
        return [value.detach() for value in values]

    near = 1e-7 * cutoff
    inside, outside = derivatives(cutoff - near), derivatives(cutoff + near)
    sizes = [derivatives(cutoff * share) for share in (0.6, 0.7, 0.8, 0.9)]
    for order, what in enumerate(("energy", "force", "derivative of the force")[: smoothness + 1]):
        size = max(float(each[order].abs()) for each in sizes)
        jump = float((inside[order] - outside[order]).abs())
        assert jump <= 1e-4 * max(size, 1e-6), (
            f"the {what} jumps by {jump:.3g} at the cutoff, where it is about {size:.3g}"
        )


def assert_forces(model: Model, atoms: Atoms) -> None:
    """Every coordinate of every atom, all displaced copies in one batch."""
    found = atoms(ForceField(model).eval())["forces"]
    n, graphs = len(atoms.z), int(atoms.batch.max()) + 1
    steps = STEP * torch.eye(3 * n, dtype=torch.float64).view(3 * n, n, 3)
    steps = torch.cat([steps, -steps])
    pos = (atoms.pos + steps).flatten(0, 1)
    batch = (atoms.batch + graphs * torch.arange(6 * n)[:, None]).flatten()
    with torch.no_grad():
        energy = model(atoms.z.repeat(6 * n), pos, batch)["interaction_energy"].view(2, 3 * n, graphs).sum(-1)
    wanted = (energy[1] - energy[0]).view(n, 3) / (2 * STEP)
    assert_close(found, wanted, DIFFERENCE_TOLERANCE, "forces against differences of energies")


def assert_stress(model: Model, atoms: Atoms) -> None:
    """Every strain of a crystal."""
    assert atoms.cell is not None
    found = atoms(ForceField(model).eval())["stress"][0]
    assert_close(found, found.t(), 1e-12, "transposed stress")
    wanted = torch.zeros_like(found)
    for i in range(3):
        for j in range(3):
            energies = []
            for sign in (1, -1):
                strain = torch.eye(3, dtype=torch.float64)
                strain[i, j] += sign * STEP / 2
                strain[j, i] += sign * STEP / 2
                with torch.no_grad():
                    energies.append(atoms.at(atoms.pos @ strain, atoms.cell @ strain)(model)["energy"][0])
            wanted[i, j] = (energies[0] - energies[1]) / (2 * STEP)
    volume = torch.linalg.det(atoms.cell[0]).abs()
    assert_close(found, wanted / volume, DIFFERENCE_TOLERANCE, "stress against differences of energies")


def assert_parameters_learn(model: Model, atoms: Atoms, names: Sequence[str]) -> None:
    """Each parameter has a gradient that is finite and not zero."""
    model = copy.deepcopy(model).train()
    found = atoms(ForceField(model).train())
    generator = torch.Generator().manual_seed(0)
    losses = [
        (found[name] * torch.randn(found[name].shape, dtype=torch.float64, generator=generator)).sum()
        for name in ("energy", "forces", *names)
    ]
    torch.stack(losses).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"
        assert bool((parameter.grad != 0).any()), f"the gradient of {name} is zero"


def assert_force_loss(model: Model, atoms: Atoms) -> None:
    """The derivative of a mean squared force along random directions of the parameters."""
    model = copy.deepcopy(model).train()
    field = ForceField(model).train()
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(0)
    step = 1e-5

    def loss() -> Tensor:
        return atoms(field)["forces"].square().mean()

    gradients = torch.autograd.grad(loss(), parameters, materialize_grads=True)
    for _ in range(2):
        directions = [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in parameters]
        found = sum(((g * d).sum() for g, d in zip(gradients, directions, strict=True)), torch.zeros(()).double())
        values = []
        for sign in (step, -2 * step, step):
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(sign * direction)
            values.append(loss().detach())
        wanted = (values[0] - values[1]) / (2 * step)
        assert_close(found, wanted, 1e-5, "gradient of a force loss against differences", scale=1e-6)


def assert_graphs(model: Model, atoms: Atoms) -> None:
    """Where forces can be differentiated, and where they need not be."""
    field = ForceField(copy.deepcopy(model))
    assert atoms(field.train())["forces"].requires_grad, "forces carry no graph in training mode"
    wanted = atoms(field.eval())
    assert not any(value.requires_grad for value in wanted.values()), "a graph is kept in evaluation mode"
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            found = replace(atoms, pos=atoms.pos.clone())(field.train())
        assert not found["forces"].requires_grad, f"a graph is kept inside torch.{without.__name__}()"
        assert_close(found["forces"], wanted["forces"], 1e-12, f"forces inside torch.{without.__name__}()")


def assert_float32(model: Model, atoms: Atoms) -> None:
    """Energies and forces in float32."""
    wanted = atoms(ForceField(model).eval())
    single = ForceField(copy.deepcopy(model).float()).eval()
    found = atoms.at(atoms.pos.float())(single)
    for name in ("interaction_energy", "forces"):
        assert found[name].dtype == torch.float32, f"{name} has dtype {found[name].dtype} in float32"
        scale = float(wanted["node_energy"].abs().max()) if name == "interaction_energy" else 1e-3
        assert_close(found[name].double(), wanted[name], 1e-4, f"{name} in float32", scale=scale)
