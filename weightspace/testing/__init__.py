"""Conformance classes and asserts: test your own layers, rules and metanets with them.

A conformance class is subclassed in a test file; pytest finds its methods. The checks of networks are assert
functions, too, which raise `AssertionError` with what was found against what was wanted. Values are random in every
floating entry, in float64; tolerances are tight, because loose ones hide real bugs.
"""

from weightspace.testing._coordinate import CoordinateMetanetTests
from weightspace.testing._example_networks import example_architectures
from weightspace.testing._geometric import AtomisticModelTests
from weightspace.testing._isomorphism import assert_isomorphic, networks_are_isomorphic
from weightspace.testing._metanet_tests import MetanetTests
from weightspace.testing._networks import (
    assert_control,
    assert_entries_covered,
    assert_function_kept,
    assert_group_laws,
    assert_json_round_trip,
    assert_order,
    assert_round_trip,
    assert_same_signature,
    full_state,
)
from weightspace.testing._tracing import AbstractTracingConformance

__all__ = [
    "AbstractTracingConformance",
    "CoordinateMetanetTests",
    "AtomisticModelTests",
    "MetanetTests",
    "assert_control",
    "assert_entries_covered",
    "assert_function_kept",
    "assert_group_laws",
    "assert_isomorphic",
    "assert_json_round_trip",
    "assert_order",
    "assert_round_trip",
    "assert_same_signature",
    "example_architectures",
    "full_state",
    "networks_are_isomorphic",
]
