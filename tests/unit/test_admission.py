# SPDX-License-Identifier: Apache-2.0
"""Names that explode stay few series, and no counter falls for it."""

from __future__ import annotations

import random

import pytest

from otel_memory import semconv
from otel_memory.heap._admission import REFUSED_MAX, RETIRE_ABOVE, Admission
from otel_memory.heap._rows import Pair

MIB = 1024 * 1024
OTHER = (semconv.SORT_OTHER, semconv.ROW_OTHER, "", semconv.ROW_OTHER)


def pair(name, *, entry=None, count=1, allocated=100, live=0, sort="span", kind=None):
    kind = ("SERVER" if sort == "span" else "") if kind is None else kind
    shown = semconv.after_end_row(name) if sort == "after-end" else name
    return Pair(sort, shown, kind, entry or name, count, allocated, 10, live, 1)


def key(row):
    return (row.sort, row.name, row.kind, row.entry)


def by_key(rows):
    found = {key(row): row for row in rows}
    assert len(found) == len(rows), "two rows of one key"
    return found


def names(rows):
    return {row.name for row in rows if row.sort == "span"}


class Core:
    """Rows that only grow, and are summed on request, as the counting core's are."""

    def __init__(self):
        self.rows = {}
        self.other = None

    def add(self, name, *, entry=None, count=1, allocated=100, live=0, sort="span"):
        new = pair(
            name, entry=entry, count=count, allocated=allocated, live=live, sort=sort
        )
        old = self.rows.get(key(new))
        if old is not None:
            new = new._replace(
                count=old.count + count,
                allocated_bytes=old.allocated_bytes + allocated,
                live_bytes=max(old.live_bytes + live, 0),
            )
        self.rows[key(new)] = new

    def retire(self, rows):
        for row in rows:
            gone = self.rows.pop(key(row))
            old = self.rows.get(OTHER) or Pair(*OTHER, 0, 0, 0, 0, 0)
            self.rows[OTHER] = old._replace(
                count=old.count + gone.count,
                allocated_bytes=old.allocated_bytes + gone.allocated_bytes,
            )

    def collect(self, admission):
        shown, retirable = admission.admit(self.rows.values())
        self.retire(retirable)
        return shown


def test_few_names_are_all_shown():
    admission = Admission(200)
    pairs = [pair(f"span {i}", entry="GET /") for i in range(10)] + [pair("GET /")]
    shown, retirable = admission.admit(pairs)
    assert sorted(shown) == sorted(pairs)
    assert retirable == []
    assert admission.names_count == 11
    assert admission.refused_count == 0


def test_special_rows_are_always_shown():
    admission = Admission(0)
    special = [
        pair(name, sort=sort)
        for sort, name in semconv.ROW_BY_SORT.items()
        if sort != semconv.SORT_OTHER
    ]
    shown, _ = admission.admit(special)
    assert shown == special


def test_thousands_of_names_are_one_row():
    admission = Admission(200)
    pairs = [pair(f"GET /{i}") for i in range(5000)]
    shown, retirable = admission.admit(pairs)
    (other,) = shown
    assert key(other) == OTHER
    assert other.count == 5000
    assert other.allocated_bytes == 500_000
    assert len(retirable) == 5000


def test_thousands_of_entries_around_one_name_are_few_rows():
    """The name inside is the same for all; the pairs are not."""
    admission = Admission(200)
    core = Core()
    core.add("GET /real", count=100_000)
    core.add("fastapi.endpoint", entry="GET /real", count=100_000)
    for i in range(5000):
        core.add(f"GET /raw/{i}")
        core.add("fastapi.endpoint", entry=f"GET /raw/{i}")
    shown = core.collect(admission)
    assert set(by_key(shown)) == {
        ("span", "GET /real", "SERVER", "GET /real"),
        ("span", "fastapi.endpoint", "SERVER", "GET /real"),
        OTHER,
    }
    assert by_key(shown)[OTHER].count == 10_000


@pytest.mark.parametrize("matters", ["live", "count"])
def test_a_name_that_comes_to_matter_is_admitted_for_good(matters):
    admission = Admission(200)
    core = Core()
    for i in range(500):
        core.add(f"GET /{i}")
    assert names(core.collect(admission)) == set()
    if matters == "live":
        core.add("GET /7", live=MIB)
    else:
        core.add("GET /7", count=10)
    assert names(core.collect(admission)) == {"GET /7"}
    core.add("GET /7", live=-MIB)
    core.add("GET /8", count=1_000_000)
    assert names(core.collect(admission)) == {"GET /7", "GET /8"}


def test_what_is_kept_inside_admits_the_entry_too():
    admission = Admission(20)
    core = Core()
    for i in range(500):
        core.add(f"GET /{i}")
        core.add("endpoint", entry=f"GET /{i}", live=10_000)
    core.add("endpoint", entry="GET /7", live=2 * MIB)
    shown = by_key(core.collect(admission))
    assert shown["span", "endpoint", "SERVER", "GET /7"].live_bytes > 2 * MIB
    assert len(shown) <= 3


def test_never_more_names_than_the_limit():
    admission = Admission(5)
    core = Core()
    for i in range(50):
        core.add(f"big {i}", live=2 * MIB)
        shown = core.collect(admission)
        assert len(names(shown)) <= 5
    assert admission.names_count == 5
    assert admission.refused_count == 45
    core.collect(admission)
    assert admission.refused_count == 45
    assert by_key(shown)[OTHER].live_bytes == 90 * MIB


def test_names_that_do_not_matter_are_not_refused():
    admission = Admission(4)
    core = Core()
    for i in range(50):
        core.add(f"big {i}", live=2 * MIB if i < 4 else 0, count=100 if i < 4 else 1)
    core.collect(admission)
    assert (admission.names_count, admission.refused_count) == (4, 0)


def test_a_name_for_which_there_is_room_at_last_is_not_refused_any_more():
    admission = Admission(1)
    pairs = [pair("a", live=3 * MIB), pair("b", live=2 * MIB)]
    admission.admit(pairs)
    assert (admission.names_count, admission.refused_count) == (1, 1)
    admission.max_names = 2
    admission.admit(pairs)
    assert (admission.names_count, admission.refused_count) == (2, 0)


def test_refused_names_take_little_room_however_many_they_are():
    admission = Admission(0)
    for i in range(3):
        many = range(i * REFUSED_MAX, (i + 1) * REFUSED_MAX)
        admission.admit(pair(f"GET /{n}", live=MIB) for n in many)
        assert admission.refused_count == REFUSED_MAX


def test_learning_admits_and_moves_no_count():
    admission = Admission(8)
    core = Core()
    for i in range(200):
        core.add(f"GET /{i}", count=3)
    before = by_key(core.collect(admission))
    core.add("GET /7", count=50, live=2 * MIB)
    assert not admission.knows("GET /7")
    admission.learn(core.rows.values())
    assert admission.knows("GET /7")
    core.add("GET /7", count=1)
    now = by_key(core.collect(admission))
    assert now["span", "GET /7", "SERVER", "GET /7"].count == 51
    assert now[OTHER].count == before[OTHER].count


def test_what_goes_on_after_the_end_moves_with_its_name():
    admission = Admission(8)
    core = Core()
    for i in range(500):
        core.add(f"GET /{i}")
        core.add(f"GET /{i}", sort="after-end", count=0, allocated=1000)
    before = by_key(core.collect(admission))
    assert set(before) == {OTHER}
    core.add("GET /7", live=2 * MIB)
    after = by_key(core.collect(admission))
    late = ("after-end", "GET /7 (after end)", "", "GET /7")
    assert set(after) == {OTHER, ("span", "GET /7", "SERVER", "GET /7"), late}
    assert after[OTHER].allocated_bytes >= before[OTHER].allocated_bytes
    core.add("GET /7", sort="after-end", count=0, allocated=5000)
    assert by_key(core.collect(admission))[late].allocated_bytes == 5000


def test_a_users_name_that_ends_like_a_late_row_is_a_name_of_its_own():
    admission = Admission(8)
    core = Core()
    for i in range(100):
        core.add(f"GET /{i}")
    core.add("job", live=2 * MIB)
    core.add("job (after end)", entry="job")
    assert names(core.collect(admission)) == {"job"}


def test_small_rows_that_were_not_admitted_are_retired_when_they_are_many():
    admission = Admission(200)
    core = Core()
    for i in range(RETIRE_ABOVE):
        core.add(f"GET /{i}")
    core.collect(admission)
    assert len(core.rows) == RETIRE_ABOVE
    core.add("holds", live=1000)
    core.add("one more")
    core.collect(admission)
    assert set(core.rows) == {OTHER, ("span", "holds", "SERVER", "holds")}


@pytest.mark.parametrize("seed", range(20))
def test_no_counter_falls_no_series_goes_and_nothing_is_lost(seed):
    random_ = random.Random(seed)
    limit = random_.choice([0, 4, 10, 40])
    admission = Admission(limit)
    core = Core()
    total_count = total_allocated = 0
    before = {}
    spread = random_.choice([30, 300, 3000])
    for _ in range(30):
        for _ in range(random_.randrange(spread)):
            entry = f"GET /{int(random_.paretovariate(0.6)) % 4000}"
            inner = random_.random() < 0.4
            name = random_.choice(["db", "cache", "endpoint"]) if inner else entry
            count, allocated = random_.randrange(3), random_.randrange(10_000)
            live = random_.choice([0] * 20 + [MIB // 2, -MIB])
            late = random_.random() < 0.1
            sort = "after-end" if late else "span"
            count = 0 if late else count
            core.add(
                name,
                entry=entry,
                count=count,
                allocated=allocated,
                live=live,
                sort=sort,
            )
            total_count += count
            total_allocated += allocated
        rows = core.collect(admission)
        now = by_key(rows)
        for each, row in before.items():
            assert now[each].count >= row.count, each
            assert now[each].allocated_bytes >= row.allocated_bytes, each
        assert all(row.count >= 0 and row.allocated_bytes >= 0 for row in rows)
        assert sum(row.count for row in rows) == total_count
        assert sum(row.allocated_bytes for row in rows) == total_allocated
        assert (
            len(
                {n for row in rows for n in (row.name, row.entry)}
                - {semconv.ROW_OTHER}
                - {row.name for row in rows if row.sort == "after-end"}
            )
            <= limit
        )
        before = now


def test_a_retired_name_that_comes_to_matter_counts_from_then_on():
    admission = Admission(8)
    core = Core()
    for i in range(RETIRE_ABOVE + 1):
        core.add(f"GET /{i}", count=3)
    others = 3 * (RETIRE_ABOVE + 1)
    assert by_key(core.collect(admission))[OTHER].count == others
    assert set(core.rows) == {OTHER}
    core.add("GET /7", count=2, live=2 * MIB)
    shown = by_key(core.collect(admission))
    assert shown["span", "GET /7", "SERVER", "GET /7"].count == 2
    assert shown[OTHER].count == others
