# SPDX-License-Identifier: Apache-2.0
"""Make a summary's tables from the stacks of every process: by site, by package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from otel_memory import semconv
from otel_memory.recording.ages import ages_of
from otel_memory.recording.profile import Stack
from otel_memory.recording.series import ProfileSeries, SiteKey
from otel_memory.recording.summary import Package, Site, add_known


def sites_of(profiles: Iterable[ProfileSeries]) -> tuple[Site, ...]:
    """Sum the last profile of every process up by site."""
    stacks: dict[SiteKey, list[Stack]] = defaultdict(list)
    growths: dict[SiteKey, list[int | None]] = defaultdict(list)
    for profile in profiles:
        for key, those in profile.stacks_by_site.items():
            stacks[key] += those
            growths[key].append(profile.site_growth_bytes(key))
    sites = [
        _site(key, those, add_known(growths[key])) for key, those in stacks.items()
    ]
    return tuple(sorted(sites, key=lambda site: (-(site.live_bytes or 0), site.file)))


def _site(key: SiteKey, stacks: list[Stack], growth_bytes: int | None) -> Site:
    ages = ages_of(stacks)
    return Site(
        key.span,
        key.entry,
        *key.site,
        live_bytes=_live_bytes(stacks),
        samples=_samples(stacks),
        growth_bytes=growth_bytes,
        age_seconds=ages.oldest_seconds,
        age_mean_seconds=ages.mean_seconds,
        completed_mean=ages.completed_mean,
        live_bytes_by_age=ages.live_bytes_by_age,
        trace_id=_trace_id(stacks),
    )


def _trace_id(stacks: list[Stack]) -> str | None:
    """Choose the trace that tells most: the one of the largest stack with any."""
    known = [stack for stack in stacks if stack.trace_id is not None]
    largest = max(known, key=lambda stack: stack.live_bytes, default=None)
    return largest.trace_id if largest else None


def packages_of(profiles: Iterable[ProfileSeries]) -> tuple[Package, ...]:
    """Sum the last profile of every process up by the package that allocated."""
    stacks: dict[str, list[Stack]] = defaultdict(list)
    growths: dict[str, list[int | None]] = defaultdict(list)
    for profile in profiles:
        for name, those in profile.stacks_by_package.items():
            stacks[name] += those
            growths[name].append(profile.package_growth_bytes(name))
    packages = [
        Package(
            name,
            live_bytes=_live_bytes(those),
            samples=_samples(those),
            growth_bytes=add_known(growths[name]),
            import_bytes=_live_bytes(filter(_is_import, those)),
        )
        for name, those in stacks.items()
    ]
    return tuple(
        sorted(packages, key=lambda each: (-(each.live_bytes or 0), each.package))
    )


def _is_import(stack: Stack) -> bool:
    return stack.pair.sort == semconv.SORT_IMPORT


def _live_bytes(stacks: Iterable[Stack]) -> int:
    return sum(stack.live_bytes for stack in stacks)


def _samples(stacks: Iterable[Stack]) -> int:
    return sum(stack.samples for stack in stacks)
