"""From a stored network back to a module, for the architectures that the library itself trains."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import WeightspaceError, ZooError
from weightspace.zoo._architectures import build


def rebuild(spec: Any, state_dict: Mapping[str, Tensor], i: int) -> nn.Module:
    """The module of a specification in eval mode, with these weights; built on the meta device, so that a
    specification cannot ask for more memory than its weights have.

    Args:
        spec: the network's attribute `architecture`.
        state_dict: its weights.
        i: its position in the zoo, for the messages.

    Raises:
        ZooError: there is no specification, or the weights do not fit what it builds.
    """
    if not isinstance(spec, Mapping):
        raise ZooError(
            f"network {i}: attribute 'architecture' is {spec!r}, wanted a specification; only networks that the "
            "library trained can be rebuilt: build your own module and load zoo[i].state_dict"
        )
    try:
        with torch.device("meta"):
            module = build(spec)
        module.load_state_dict(dict(state_dict), assign=True)
    except (WeightspaceError, RuntimeError) as error:
        raise ZooError(f"network {i}: its weights do not fit its specification {dict(spec)}: {error}") from error
    return module.eval()
