"""Small architectures with the order of their groups in closed form, one file per family.

Everything in `CASES` is a function of no arguments that returns (module, example inputs, log10 of the order).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.architectures import (
    attention,
    basic,
    convolutions,
    decoders,
    fields,
    gates_and_experts,
    geometry,
    grouped_queries,
    image_tokens,
    recurrent,
    sets_and_graphs,
    text,
    transformers_by_hand,
)
from tests.architectures.basic import (
    ResNet,
    cnn_flatten,
    dense_block,
    grouped_input,
    mixer,
    mlp,
    nested_blocks,
    resnet,
    squeeze_excite,
    tied,
    unknown,
)
from tests.architectures.cases import Case, image, log_factorial, tokens

__all__ = [
    "BASIC", "CASES", "FAMILIES", "FIXED_BATCH", "FROZEN", "PENDING", "ROUNDED", "Case", "ResNet", "cnn_flatten",
    "dense_block", "every_other_slow",
    "grouped_input", "image", "log_factorial", "mixer", "mlp", "nested_blocks", "resnet", "squeeze_excite", "tied",
    "tokens", "unknown",
]  # fmt: skip

BASIC = basic.CASES
FAMILIES: Mapping[str, tuple[Callable[[], Case], ...]] = {
    module.__name__.rpartition(".")[2]: module.CASES
    for module in (
        basic, convolutions, decoders, image_tokens, attention, grouped_queries, transformers_by_hand, recurrent,
        gates_and_experts, fields, sets_and_graphs, geometry, text,
    )
}  # fmt: skip
# Names of architectures for which a rule is missing; the tests leave them out.
PENDING: frozenset[str] = frozenset()
CASES = tuple(case for family in FAMILIES.values() for case in family if case.__name__ not in PENDING)
# What is frozen, where an operation has no rule.
FROZEN: Mapping[Callable[[], Case], Mapping[str, str]] = {unknown: {"a.weight:0": "aten.cumsum.default"}}
# Norms that are computed in single precision whatever the weights are: the error that the function may have.
ROUNDED: Mapping[Callable[[], Case], float] = {text.llama: 1e-5}
# The first dimension of the inputs is no batch of independent examples.
FIXED_BATCH: frozenset[Callable[[], Case]] = frozenset({
    sets_and_graphs.message_passing, sets_and_graphs.adjacency, sets_and_graphs.gcn, sets_and_graphs.gin,
    sets_and_graphs.gat, sets_and_graphs.sage, geometry.irreps_convolution, recurrent.gru_bidirectional,
    attention.mha_sequence_first,
})  # fmt: skip


def every_other_slow(cases: Sequence[Callable[[], Case]]) -> list[Any]:
    """Parameters of a test that takes long: one architecture of two stands among the slow tests."""
    return [pytest.param(case, marks=[pytest.mark.slow] * (number % 2)) for number, case in enumerate(cases)]
