"""Mean absolute and root mean square errors, on validation molecules and on tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightspace.molecules import Molecules
from weightspace.tasks.molecular._batches import Batch, in_order
from weightspace.tasks.molecular._objectives import AbstractObjective


def errors_of(differences: Mapping[str, Tensor]) -> dict[str, float]:
    """`<quantity>_mae` and `<quantity>_rmse` of flat differences, in their units.

    Example:
        >>> errors_of({"energy": torch.tensor([3.0, -4.0])})
        {'energy_mae': 3.5, 'energy_rmse': 3.5355339059327378}
    """
    found = {}
    for name, value in differences.items():
        value = value.double()
        found[f"{name}_mae"] = float(value.abs().mean())
        found[f"{name}_rmse"] = float(value.square().mean().sqrt())
    return found


@dataclass(frozen=True)
class Predictions:
    """Predictions and references of test molecules by quantity, flat, float64 on the CPU."""

    predicted: Mapping[str, Tensor]
    wanted: Mapping[str, Tensor]

    def scores(self) -> dict[str, float]:
        """See `errors_of`."""
        return errors_of({name: self.predicted[name] - self.wanted[name] for name in self.wanted})


def predictions_of(objective: AbstractObjective, molecules: Molecules) -> Predictions:
    """What an objective's model, in evaluation mode where it is, says of molecules."""
    objective.eval()
    predicted: dict[str, list[Tensor]] = {name: [] for name in objective.quantities}
    wanted: dict[str, list[Tensor]] = {name: [] for name in objective.quantities}
    for batch in in_order(molecules):
        batch = moved(batch, objective)
        with torch.no_grad():
            outputs = objective.outputs(batch)
        for name, target in objective.targets(batch).items():
            predicted[name].append(outputs[name].detach().double().cpu())
            wanted[name].append(target.double().cpu())
    return Predictions(
        {name: torch.cat(parts).flatten() for name, parts in predicted.items()},
        {name: torch.cat(parts).flatten() for name, parts in wanted.items()},
    )


def moved(batch: Batch, like: nn.Module) -> Batch:
    """A batch on the device and in the precision of a module's parameters."""
    first = next(like.parameters())
    return {
        name: value.to(device=first.device, dtype=first.dtype if value.is_floating_point() else None)
        for name, value in batch.items()
    }
