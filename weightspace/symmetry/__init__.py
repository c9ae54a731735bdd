"""What can be checked and done with a weight space's symmetry."""

from weightspace.symmetry._canonical import canonicalize
from weightspace.symmetry._scaling import Scaling, ScalingGroup
from weightspace.symmetry._verify import random_state, verify
from weightspace.symmetry._widening import widen

__all__ = ["Scaling", "ScalingGroup", "canonicalize", "random_state", "verify", "widen"]
