"""From an `nn.Module` to its `WeightSpace`: export, the axis algebra, one file of rules per layer family."""

from weightspace.tracing import (  # noqa: F401  (they register themselves)
    _rules_attention,
    _rules_elementwise,
    _rules_image,
    _rules_index,
    _rules_linear,
    _rules_norm,
    _rules_product,
    _rules_recurrent,
    _rules_reduce,
    _rules_shape,
    _rules_slice,
)
from weightspace.tracing._call import Call
from weightspace.tracing._permutation_spec import from_permutation_spec
from weightspace.tracing._registry import rule
from weightspace.tracing._specification import specify
from weightspace.tracing._trace import trace

__all__ = ["Call", "from_permutation_spec", "rule", "specify", "trace"]
