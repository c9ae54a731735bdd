"""Predictions for one network of the user's, by a saved metanet."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from weightspace.errors import CheckpointError
from weightspace.factory import example_inputs, module_from
from weightspace.metanets import NetworkReader, TracedNetwork, from_pretrained
from weightspace.tasks._attributes import AttributePrediction
from weightspace.tasks._folder import TASK
from weightspace.tasks._targets import FittedTarget
from weightspace.tracing import trace
from weightspace.zoo import fit_checkpoint, read_checkpoint


def predict_network(checkpoint: str | Path, module: str, *, model: str | Path, inputs: Sequence[str]) -> str:
    """Predict the attributes of one network from its checkpoint.

    Args:
        checkpoint: of the network: `.pt`, `.pth`, `.th` or `.safetensors`.
        module: its architecture, `package.module:factory`.
        model: folder of the saved metanet, with the `task.json` of an `AttributePrediction`; without that file the
            metanet's output is taken for a test accuracy.
        inputs: shapes of example inputs, e.g. `["1,1,28,28"]`.

    Returns:
        A line of text per target, and one more where the metanet was not trained on this architecture.

    Raises:
        WeightspaceError: whatever does not fit: the factory, the checkpoint, the metanet, its task.
    """
    metanet = from_pretrained(Path(model))
    network = module_from(module)
    example = example_inputs(inputs)
    space = trace(network, *example)
    graph = space.to_graph(fit_checkpoint(read_checkpoint(Path(checkpoint)), network.state_dict()))
    if isinstance(metanet, NetworkReader):
        metanet.attach([TracedNetwork(space, network, example)])
    task = AttributePrediction(metanet)
    task.targets = _targets(Path(model) / TASK)
    with torch.no_grad():
        predicted = task(graph)
    lines = [_line(target, predicted[target.name].item()) for target in task.targets]
    seen = getattr(metanet, "input_scales", None)
    if seen is not None and seen.per_layer and space.signature not in seen.per_layer:
        lines.append("note: the metanet was trained on other architectures than this one; take the result as a guess")
    return "\n".join(lines)


def _targets(path: Path) -> tuple[FittedTarget, ...]:
    """What the metanet was trained to predict."""
    if not path.is_file():
        return (FittedTarget("test_accuracy", "fraction"),)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name = content["task"]
        targets = tuple(FittedTarget.from_dict(values) for values in content["state"].get("targets", []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a task's description ({error!r}); save the model again") from error
    if name != AttributePrediction.__name__:
        raise CheckpointError(
            f"{path}: the metanet was trained for {name}, wanted {AttributePrediction.__name__}, which predicts "
            "attributes; score it with `weightspace test`"
        )
    return targets


def _line(target: FittedTarget, value: float) -> str:
    text = target.classes[int(value)] if target.kind == "class" else f"{value:.3{'g' if target.kind == 'log' else 'f'}}"
    return f"predicted {target.name.replace('_', ' ')} {text}"
