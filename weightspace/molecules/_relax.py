"""The nearest minimum of a model's energy."""

from typing import TYPE_CHECKING, Any

from weightspace.errors import ConfigurationError
from weightspace.geometric import AbstractAtomisticModel
from weightspace.molecules._ase import ase_module

if TYPE_CHECKING:
    from ase import Atoms


def relax(
    atoms: "Atoms", calculator: Any, *, fmax: float = 0.01, steps: int = 500, optimiser: str = "BFGS"
) -> tuple["Atoms", bool]:
    """Relaxed copy of some atoms by an optimiser of ASE, in a fixed cell.

    Args:
        atoms: where to start; its constraints are kept.
        calculator: a `WeightspaceCalculator`, or a model, which becomes one in float64.
        fmax: largest force that is left on an atom, in eV/Å.
        steps: at most.
        optimiser: a name in `ase.optimize`, such as "BFGS" or "FIRE".

    Returns:
        The relaxed atoms with the calculator attached, and whether `fmax` was reached.

    Raises:
        ConfigurationError: an unknown optimiser, or ase is missing.
        MoleculeError: from the calculator.

    Example:
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> relaxed, done = relax(molecule("H2O"), EMT(), fmax=0.05)
        >>> done, bool(abs(relaxed.get_forces()).max() < 0.05)
        (True, True)
    """
    optimisers = ase_module("ase.optimize", "relax")
    if not isinstance(getattr(optimisers, optimiser, None), type):
        raise ConfigurationError(f"relax: found optimiser={optimiser!r}, wanted BFGS, FIRE or another of ase.optimize")
    relaxed = atoms.copy()
    if isinstance(calculator, AbstractAtomisticModel):
        from weightspace.molecules._calculator import WeightspaceCalculator

        calculator = WeightspaceCalculator(calculator)
    relaxed.calc = calculator
    done = getattr(optimisers, optimiser)(relaxed, logfile=None).run(fmax=fmax, steps=steps)
    return relaxed, bool(done)
