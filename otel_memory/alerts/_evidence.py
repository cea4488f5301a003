# SPDX-License-Identifier: Apache-2.0
"""Who bears what grows and which lines hold it, taken at the moment of an alert.

Later may be too late: the kernel ends a process that reaches its limit without a word.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from otel_memory.heap import HeapSource, SampledStack
from otel_memory.leaks import History, Suspect
from otel_memory.sites import (
    Frame,
    describe_site,
    largest_sites,
    place_of,
    working_directory,
)
from otel_memory.units import format_rate

_STACKS_MAX = 2_000
_SUSPECTS_MAX = 5
_SITES_MAX = 5
# Of the largest one: what holds less than that is no answer to "who?".
_SITES_FRACTION_MIN = 0.05


class Evidence(NamedTuple):
    """What is known of the causes.

    Attributes:
        suspects: The fastest growing first.
        places: The line that holds most of each; "" where it is not known.
        top_sites: Texts: the lines that hold most, of the suspects if there are any,
            else of the whole process.
    """

    suspects: tuple[Suspect, ...] = ()
    places: tuple[str, ...] = ()
    top_sites: tuple[str, ...] = ()


def describe_suspect(suspect: Suspect) -> str:
    """Write a suspect as `get_product_list (GET /recommend) +30.1 MiB/h`."""
    rate = format_rate(suspect.growth_bytes_per_hour, signed=True)
    entry = "" if suspect.entry == suspect.span else f" ({suspect.entry})"
    return f"{suspect.span}{entry} {rate}"


def take_evidence(source: HeapSource, history: History) -> Evidence:
    """Read the heap and rank who bears its growth."""
    stacks = source.stacks(_STACKS_MAX)
    suspects = tuple(history.suspects(_mean_ages(stacks))[:_SUSPECTS_MAX])
    directory = working_directory()
    places = []
    for suspect in suspects:
        pair = (suspect.span, suspect.entry)
        sites = _sites([s for s in stacks if (s.name, s.entry) == pair])
        places.append(place_of(sites[0][0], directory) if sites else "")
    pairs = {(suspect.span, suspect.entry) for suspect in suspects}
    largest = _sites([s for s in stacks if not pairs or (s.name, s.entry) in pairs])
    top_sites = (describe_site(*site, directory) for site in largest[:_SITES_MAX])
    return Evidence(suspects, tuple(places), tuple(top_sites))


def _sites(stacks: list[SampledStack]) -> list[tuple[Frame, int]]:
    sites = largest_sites((stack.frames, stack.live_bytes) for stack in stacks)
    least_bytes = sites[0][1] * _SITES_FRACTION_MIN if sites else 0
    return [site for site in sites if site[1] >= least_bytes]


def _mean_ages(stacks: list[SampledStack]) -> dict[tuple[str, str], float]:
    """Average the ages of what is live by span and entry, where they are known."""
    live_bytes: Counter[tuple[str, str]] = Counter()
    byte_seconds: dict[tuple[str, str], float] = {}
    for stack in stacks:
        if stack.live_bytes_by_age:
            pair = (stack.name, stack.entry)
            live_bytes[pair] += stack.live_bytes
            aged = stack.live_bytes * stack.age_mean_seconds
            byte_seconds[pair] = byte_seconds.get(pair, 0.0) + aged
    return {
        pair: byte_seconds[pair] / size for pair, size in live_bytes.items() if size
    }
