"""How long a model may train: seconds or samples, the same for all that are compared."""

import re
import time
from dataclasses import dataclass

from weightspace.errors import ConfigurationError

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
CLOCKS = ("wall", "process")


@dataclass(frozen=True)
class Budget:
    """An amount of training; validation during the training counts, tests and measurements after it do not.

    Args:
        seconds: by the clock; earlier starts of the same run count.
        samples: molecules seen, repetitions included; exactly one of the two is given.
        clock: "wall", or "process" for CPU seconds of the training process, which other load does not change: on one
            thread of an idle machine the two agree.

    Raises:
        ConfigurationError: both or neither are given, an amount that is not positive, or another clock.

    Example:
        >>> Budget.of("10min").seconds, Budget.of("20000samples").samples
        (600.0, 20000)
    """

    seconds: float | None = None
    samples: int | None = None
    clock: str = "wall"

    def __post_init__(self) -> None:
        given = [amount for amount in (self.seconds, self.samples) if amount is not None]
        if len(given) != 1 or not given[0] > 0 or self.clock not in CLOCKS:
            raise ConfigurationError(
                f"budget: found seconds={self.seconds}, samples={self.samples}, clock={self.clock!r}, wanted a "
                f"positive amount of one of the two, and one of the clocks {', '.join(CLOCKS)}"
            )

    @classmethod
    def of(cls, text: str, clock: str = "wall") -> "Budget":
        """Read "90s", "10min", "2h" or "20000samples"."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|samples)", text.strip())
        if match is None:
            raise ConfigurationError(f"budget: found {text!r}, wanted an amount such as 90s, 10min, 2h or 20000samples")
        number, unit = match.groups()
        if unit == "samples":
            return cls(samples=int(float(number)), clock=clock)
        return cls(seconds=float(number) * UNITS[unit], clock=clock)

    def now(self) -> float:
        """Seconds of the clock, from wherever it counts."""
        return time.process_time() if self.clock == "process" else time.perf_counter()

    def share(self, *, seconds: float, samples: int) -> float:
        """Of the budget that is used up after so many seconds and samples; 1 or more at the end."""
        return samples / self.samples if self.samples is not None else seconds / (self.seconds or 1.0)

    def __str__(self) -> str:
        if self.samples is not None:
            return f"{self.samples} samples"
        return f"{self.seconds:g} s" + (" of CPU" if self.clock == "process" else "")
