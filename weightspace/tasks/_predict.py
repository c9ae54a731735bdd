"""A prediction for one network of the user's, by a saved metanet."""

from collections.abc import Sequence
from pathlib import Path

import torch

from weightspace.factory import example_inputs, module_from
from weightspace.metanets import from_pretrained
from weightspace.tasks._accuracy import predicted_accuracy
from weightspace.tracing import trace
from weightspace.zoo import fit_checkpoint, read_checkpoint


def predict_network(checkpoint: str | Path, module: str, *, model: str | Path, inputs: Sequence[str]) -> str:
    """Predict the accuracy of one network from its checkpoint.

    Args:
        checkpoint: of the network: `.pt`, `.pth`, `.th` or `.safetensors`.
        module: its architecture, `package.module:factory`.
        model: folder of the saved metanet.
        inputs: shapes of example inputs, e.g. `["1,1,28,28"]`.

    Returns:
        A line of text, and a second one where the metanet was not trained on this architecture.

    Raises:
        WeightspaceError: whatever does not fit: the factory, the checkpoint, the metanet.
    """
    metanet = from_pretrained(Path(model))
    network = module_from(module)
    space = trace(network, *example_inputs(inputs))
    graph = space.to_graph(fit_checkpoint(read_checkpoint(Path(checkpoint)), network.state_dict()))
    with torch.no_grad():
        accuracy = float(predicted_accuracy(metanet, graph)[0])
    lines = [f"predicted test accuracy {accuracy:.3f}"]
    seen = getattr(metanet, "input_scales", None)
    if seen is not None and seen.per_layer and space.signature not in seen.per_layer:
        lines.append("note: the metanet was trained on other architectures than this one; take the number as a guess")
    return "\n".join(lines)
