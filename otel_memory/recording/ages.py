# SPDX-License-Identifier: Apache-2.0
"""How old the bytes of several stacks are, taken together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from otel_memory.recording.profile import Stack
from otel_memory.recording.summary import largest_known


class Ages(NamedTuple):
    """Ages of live bytes; None or empty where no stack tells.

    Attributes:
        oldest_seconds: Age of the oldest.
        mean_seconds: Weighted by bytes.
        completed_mean: Spans that have completed since, weighted by bytes.
        live_bytes_by_age: Split at `AGE_EDGES_SECONDS`.
    """

    oldest_seconds: int | None
    mean_seconds: float | None
    completed_mean: float | None
    live_bytes_by_age: tuple[int, ...]


def ages_of(stacks: Collection[Stack]) -> Ages:
    """Take the ages of several stacks together, of those that tell."""
    splits = [stack.live_bytes_by_age for stack in stacks if stack.live_bytes_by_age]
    return Ages(
        largest_known(stack.age_seconds for stack in stacks),
        _mean((stack.age_mean_seconds, stack.live_bytes) for stack in stacks),
        _mean((stack.completed_mean, stack.live_bytes) for stack in stacks),
        tuple(map(sum, zip(*splits, strict=True))),
    )


def _mean(weighted: Iterable[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    total = sum(weight for _, weight in known)
    if not total:
        return None
    # Weights that sum up to one: a product with the bytes might be infinite.
    return sum(value * (weight / total) for value, weight in known)
