"""Small architectures with the order of their groups in closed form, one file per family.

Everything in `CASES` is a function of no arguments that returns (module, example inputs, log10 of the order).
"""

from collections.abc import Callable, Mapping

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
    "BASIC", "CASES", "FAMILIES", "FIXED_BATCH", "FROZEN", "PENDING", "Case", "ResNet", "cnn_flatten", "dense_block",
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
PENDING: frozenset[str] = frozenset({
    "shufflenet", "shufflenet_units", "adaptive_max_pool", "unet", "autoencoder", "transposed_groups",
    "transposed_1d_3d", "super_resolution", "upsampling", "volume_unet", "vit", "vit_pooled", "mixer_net",
    "swin", "patch_average", "mha_self", "mha_sequence_first", "mha_other_widths", "mha_packed_cross",
    "mha_packed_three", "fused_unbind", "fused_chunk", "values_of_another_width", "query_key_norm",
    "head_slopes", "kernelised", "latents", "gqa_repeat_interleave", "gqa_expand", "gqa_enabled",
    "mqa_repeat_interleave", "mqa_expand", "rope_rotate_half", "rope_interleaved", "rope_gqa",
    "transformer_encoder", "transformer_encoder_norm_first", "transformer_decoder", "transformer_whole",
    "llama_by_hand", "gpt_tied", "lstm", "lstm_bidirectional", "lstm_projected", "gru", "gru_bidirectional",
    "rnn", "rnn_relu", "lstm_cell", "gru_cell", "minimal_gate", "translator", "tagger", "glu", "low_rank",
    "bilinear", "bilinear_with_itself", "experts_batched", "experts_listed", "weight_norm", "splines",
    "fourier_features", "triplane", "triplane_concatenated", "hash_grid", "shape_codes", "point_net",
    "set_transformer", "set_transformer_flattened", "message_passing", "adjacency", "gcn", "gin", "gat", "sage",
    "irreps_linear", "irreps_gate", "irreps_product", "irreps_convolution", "distilbert", "bert", "gpt2",
    "llama",
})  # fmt: skip
CASES = tuple(case for family in FAMILIES.values() for case in family if case.__name__ not in PENDING)
# What is frozen, where an operation has no rule.
FROZEN: Mapping[Callable[[], Case], Mapping[str, str]] = {
    unknown: {"a.weight:0": "aten.cumsum.default", "b.weight:1": "aten.cumsum.default"}
}
# The first dimension of the inputs is no batch of independent examples.
FIXED_BATCH: frozenset[Callable[[], Case]] = frozenset({
    sets_and_graphs.message_passing, sets_and_graphs.adjacency, sets_and_graphs.gcn, sets_and_graphs.gin,
    sets_and_graphs.gat, sets_and_graphs.sage, geometry.irreps_convolution, recurrent.gru_bidirectional,
    attention.mha_sequence_first,
})  # fmt: skip
