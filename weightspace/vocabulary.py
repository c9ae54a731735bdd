"""One vocabulary of node kinds, functions, edge types and roles, shared by all architectures.

The tables are append-only: a number, once given, keeps its meaning, so that a trained metanet keeps reading graphs.
What is not in
a table counts as `"other"` (number 0).
"""

from functools import cache

NODE_KINDS = (
    "other", "input", "linear", "conv", "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm",
    "add", "multiply", "cat", "function", "normaliser", "scalar", "unknown", "unused", "constant", "parameter",
    "view", "softmax", "embedding", "matmul", "attention", "divide", "subtract", "minimum", "maximum", "prelu",
    "log_softmax", "mean", "sum", "amax", "amin", "product", "einsum", "tensordot", "vocabulary", "state", "lstm",
    "lstm_memory", "gru", "rnn_tanh", "rnn_relu", "glu", "mask", "where", "masked_fill", "index", "gather",
    "scatter_add", "scatter", "scatter_reduce", "index_add", "index_copy", "index_put", "grid_sample", "weight_norm",
    "pow", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "addcmul", "addcdiv", "lerp",
    "clamp", "var", "std", "prod", "logsumexp", "linalg_vector_norm", "norm", "any", "all", "cumsum", "cumprod", "sort",
    "argsort", "flip", "roll", "atan2", "hypot", "logaddexp", "remainder", "fmod", "floor_divide", "xlogy", "copy",
    "fill", "argmax", "argmin", "arg_max", "arg_min", "bitwise_and", "bitwise_or", "bitwise_xor", "copysign",
    "count_nonzero", "nansum", "nanmean", "logcumsumexp", "index_fill", "index_reduce",
)  # fmt: skip
FUNCTIONS = (
    "other", "output", "relu", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid",
    "tanh", "softplus", "softsign", "sin", "cos", "exp", "log", "abs", "sqrt", "pow", "hardtanh", "hardsigmoid",
    "hardswish", "log_sigmoid", "erf", "neg", "reciprocal", "rsqrt", "add", "multiply", "subtract", "divide",
    "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "mean", "sum", "amax", "amin", "softmax",
    "log_softmax", "clamp", "round", "threshold", "square", "expm1", "log1p", "sign", "view", "pad", "relu6",
    "tan", "atan", "sinh", "cosh", "floor", "ceil", "hardshrink", "softshrink", "max", "min", "last",
    "mask", "pixel_shuffle", "pixel_unshuffle", "unfold", "fold", "windows", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
    "upsample_bicubic2d", "slice", "tanhshrink", "log2", "log10", "exp2", "asin", "acos", "asinh", "acosh", "atanh",
    "erfc", "trunc", "frac", "sgn", "logit", "nan_to_num", "logical_not", "positive", "sinc", "remainder", "fmod",
    "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "var", "std", "prod", "logsumexp", "linalg_vector_norm",
    "norm", "any", "all", "lgamma", "digamma", "erfinv", "rrelu", "absolute", "bitwise_not", "isnan", "isinf",
    "isfinite", "cumsum", "flip", "roll",
)  # fmt: skip
EDGE_TYPES = (
    "other", "linear", "conv", "norm", "add", "multiply", "cat", "function", "scope", "scalar", "unknown",
    "view", "softmax", "embedding", "query", "key", "value", "gate", "divide", "subtract", "minimum", "maximum",
    "reduce", "conv_depthwise", "state", "input_gate", "hidden_gate", "memory", "recurrent_forward",
    "recurrent_backward", "product", "index", "weight", "where", "masked_fill", "pow", "loop", "eq", "ne", "lt", "le",
    "gt", "ge", "logical_and", "logical_or", "logical_xor", "addcmul", "addcdiv", "lerp", "clamp", "atan2", "hypot",
    "logaddexp", "remainder", "fmod", "floor_divide", "xlogy", "copy", "fill", "bitwise_and", "bitwise_or",
    "bitwise_xor", "copysign",
)  # fmt: skip
ROLES = (
    "other", "weight", "bias", "norm_weight", "norm_bias", "running_mean", "running_var", "slope", "scalar",
    "buffer", "unused", "embedding", "depthwise_weight", "input_weight",
    "tensor", "weight_length",
)  # fmt: skip


def split_node_type(node_type: str) -> tuple[str, tuple[str, ...]]:
    """Node kind and functions of a node type, attributes dropped.

    Example:
        >>> split_node_type("batch_norm(eps=1e-05)>leaky_relu(negative_slope=0.01)>output")
        ('batch_norm', ('leaky_relu', 'output'))
    """
    kind, *functions = (part.split("(", 1)[0] for part in node_type.split(">"))
    return kind, tuple(functions)


@cache
def node_kind_id(node_type: str) -> int:
    """Number of a node type's kind in `NODE_KINDS`; 0 where it is not in the table.

    Example:
        >>> NODE_KINDS[node_kind_id("conv>relu")]
        'conv'
    """
    return _number(NODE_KINDS, split_node_type(node_type)[0])


@cache
def function_ids(node_type: str) -> tuple[int, ...]:
    """Numbers of a node type's functions in `FUNCTIONS`, in the order in which they act.

    Example:
        >>> [FUNCTIONS[i] for i in function_ids("conv>max_pool(kernel=2,2)>relu")]
        ['max_pool', 'relu']
    """
    return tuple(_number(FUNCTIONS, name) for name in split_node_type(node_type)[1])


def edge_type_id(edge_type: str) -> int:
    """Number of an edge type in `EDGE_TYPES`; 0 where it is not in the table."""
    return _number(EDGE_TYPES, edge_type)


def role_id(role: str) -> int:
    """Number of a parameter role in `ROLES`; 0 where it is not in the table."""
    return _number(ROLES, role)


def _number(table: tuple[str, ...], name: str) -> int:
    return table.index(name) if name in table else 0
