"""The documented composite: phi * (D + I + A) / 3, each part a product of factors.

With every factor in [0, 1] it is at most phi, 1.618, below its own target, phi squared. Only a
factor on a longer scale that is taken as it is brings the target within reach, so whoever uses it
states the range of each factor and names the maximum.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

PHI = (1 + math.sqrt(5)) / 2
TARGET = PHI**2
"""Of the documented composite."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "Data_Quality": ("FineWeb_Score", "Dedup_Factor", "Diversity_Index"),
    "Instruction_Quality": ("Complexity", "Diversity", "Correctness"),
    "Alignment_Quality": ("Helpfulness", "Harmlessness", "Honesty"),
}
"""The documented names of the parts and of their factors."""


def scaled(value: float, limits: tuple[float, float], literal: bool) -> float:
    """A factor as it enters its part: as it is, or its place between the ends of its range."""
    low, high = limits
    return value if literal else (value - low) / (high - low)


def maximum(
    parts: Iterable[Sequence[str]], ranges: Mapping[str, tuple[float, float]], literal: bool
) -> float:
    """The highest composite that factors within their ranges can have.

    Args:
        parts: the factors of each part.
        ranges: the lowest and highest value of every factor.
        literal: whether factors are taken as they are, and not mapped to [0, 1].
    """
    highest = []
    for names in parts:
        products = [1.0]
        for ends in (ranges[name] if literal else (0.0, 1.0) for name in names):
            products = [product * end for product in products for end in ends]
        highest.append(max(products))
    return PHI * sum(highest) / len(highest)
