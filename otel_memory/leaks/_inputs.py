# SPDX-License-Identifier: Apache-2.0
"""What is given to be judged, of a live process and of a recording alike."""

from __future__ import annotations

from otel_memory.semconv import SORT_GC, SORT_OTHER

SORTS_WITHOUT_SUSPECT = frozenset({SORT_GC, SORT_OTHER})
"""Rows that no suspect is looked for in: they are nobody's bytes, or those of many."""


def room_bytes(
    limit_bytes: int | None, usage_bytes: int | None, own_bytes: int | None
) -> int | None:
    """Tell what a process may take: others of its container hold the rest.

    Args:
        limit_bytes: Of the container; None without one.
        usage_bytes: What counts against it, of all its processes; None where that is
            not known, or where the limit is the process's alone.
        own_bytes: The process's share in it: the figure judged.

    Returns:
        1 at least, or all of the limit where the others' part is not known.
    """
    if limit_bytes is None or usage_bytes is None or own_bytes is None:
        return limit_bytes
    return max(limit_bytes - max(usage_bytes - own_bytes, 0), 1)
