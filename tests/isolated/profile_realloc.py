# SPDX-License-Identifier: Apache-2.0
"""A block that grows, moves or shrinks: its old part keeps its birth, the rest is new.

What was taken in span `one` and resized in span `two` stands under `one` with what it
had, and under `two` with what was added. Sizes are asked of the interpreter or of
libc, and the samples are so many that sigma is 4 % or less.
"""

from __future__ import annotations

import ctypes
import gc
import sys

from _profile import (
    LEFT_SAMPLES,
    Domain,
    Row,
    assert_all_is_freed,
    assert_estimate,
    block_bytes,
    blocks_of,
    fill,
    install,
    rehearsal,
    rows_by_name,
    run,
    say,
    span,
)

from otel_memory.heap import _core

RATE_BYTES = 512
SHARE = 0.25
HELD_BYTES = 1_000_000
ADDRESS_BYTES = 32  # the int that holds a block's address
PLANS = {
    "raw": ([700, 9_000], [700, 1_000, 1_500], [9_000, 900], [2_000, 8_000, 1_200]),
    "mem": ([64, 400], [400, 80], [300, 3_000], [2_000, 9_000], [9_000, 300, 700]),
    "obj": ([64, 400], [400, 80], [300, 3_000], [100, 700, 6_000, 90], [600, 200]),
}
"""Sizes that blocks of a domain have, span by span. From a pool to RAW, and back to a
size of a pool's, with which a block that came from RAW stays in RAW."""
malloc_usable_size = ctypes.CDLL(None).malloc_usable_size
malloc_usable_size.argtypes = (ctypes.c_void_p,)
malloc_usable_size.restype = ctypes.c_size_t


def count_of(plan):
    """As many as make 1 MB, but not more samples than have room."""
    return min(HELD_BYTES // min(plan), 6_000)


def resize_all(domain, plan, count, at_once):
    """Give every block all its sizes in turn; returns blocks, sizes by span, moves.

    With `at_once` each block goes its way before the next is taken, so that libc can
    let it grow where it is.
    """
    blocks = [None] * count
    sizes = {stage: [0] * count for stage in range(len(plan))}
    moved = 0
    steps = [(number, stage) for stage in range(len(plan)) for number in range(count)]
    if at_once:
        steps.sort()
    is_raw = [False] * count
    for number, stage in steps:
        size = plan[stage]
        before = blocks[number]
        with span(f"stage {stage}"):
            blocks[number] = (
                domain.malloc(size) if before is None else domain.realloc(before, size)
            )
        address = blocks[number]
        assert address
        moved += before is not None and address != before
        is_raw[number] |= size > 512 or domain.name == "raw"
        # Nothing else is kept here: it could come from a free list, born in a span.
        sizes[stage][number] = (
            malloc_usable_size(address) if is_raw[number] else block_bytes(size)
        )
    return blocks, born_in_stages(sizes), moved


def born_in_stages(sizes):
    """[bytes of each block that was born in a stage and lives, by stage]."""
    born = [[] for _ in sizes]
    for history in zip(*sizes.values(), strict=True):
        parts = []
        for stage, size in enumerate(history):
            resize_parts(parts, size, stage)
        for stage, part in parts:
            born[stage].append(part)
    return born


def resize_parts(parts, size, stage):
    """Of a block: (stage, bytes) from its beginning to its end."""
    has = sum(part for _, part in parts)
    if size > has:
        parts.append((stage, size - has))
    while size < has:
        stage, part = parts.pop()
        has -= part
        if has < size:
            parts.append((stage, size - has))
            has = size


def check_plan(name, plan, at_once):
    domain = Domain(name)
    domain.name = name
    with rehearsal():
        for block in resize_all(domain, plan, 2, at_once)[0]:
            domain.free(block)
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    blocks, born, moved = resize_all(domain, plan, count_of(plan), at_once)
    say(name, plan, "at once" if at_once else "one after the other", "moved:", moved)
    gc.collect()
    rows = rows_by_name()
    addresses = [[] for _ in plan]  # each span's ints; the last one's are alive
    addresses[-1] = [ADDRESS_BYTES] * len(blocks)
    for stage, sizes in enumerate(born):
        row = rows[f"stage {stage}"]
        if sizes:
            what = f"stage {stage}"
            assert_estimate(row, sizes + addresses[stage], RATE_BYTES, what, SHARE)
    # Nothing was born where blocks only shrank.
    for stage, sizes in enumerate(born[:-1]):
        assert sizes or rows[f"stage {stage}"].samples <= LEFT_SAMPLES, rows
    for block in blocks:
        domain.free(block)
    del block, blocks
    assert_all_is_freed("stage")
    return moved


def case_blocks():
    """Of all three domains, growing in place and moving."""
    install()
    in_place = moves = 0
    for name, plans in PLANS.items():
        for plan in plans:
            for at_once in (False, True):
                moved = check_plan(name, plan, at_once)
                resized = (len(plan) - 1) * count_of(plan)
                moves += moved
                in_place += resized - moved
    say("in place:", in_place, "moved:", moves)
    assert min(in_place, moves) > 1_000, "one of both ways was not taken"
    assert _core.health()["thinned"] == _core.health()["dropped"] == 0


# ------------------------------------------------------------- Python's objects


def resize_objects(made, change):
    """Make them, change them, and give the sizes of their blocks after either."""
    with span("one"):
        fill(made, lambda number: made[number]())
    gc.collect()  # an object from a free list was born elsewhere
    before = [blocks_of(thing) for thing in made]
    with span("two"):
        fill(made, lambda number: change(made[number]))
    gc.collect()
    return before, [blocks_of(thing) for thing in made]


def check_objects(name, made, change):
    """`made` in span `one`, `change` in span `two`; what is bigger was born there."""
    with rehearsal():
        resize_objects(made[:2], change)
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    before, after = resize_objects(made, change)
    one, two = [], []
    for was, now in zip(before, after, strict=True):
        was = [*was, *[0] * (len(now) - len(was))]
        for old, new in zip(was, now, strict=True):
            one.append(min(old, new))
            two.append(max(new - old, 0))
    one, two = list(filter(None, one)), list(filter(None, two))
    rows = rows_by_name()
    assert_estimate(rows["one"], one, RATE_BYTES, f"{name}: one", SHARE)
    if two:
        assert_estimate(
            rows["two"], two, RATE_BYTES, f"{name}: two", SHARE, in_steps=True
        )
    else:
        assert rows.get("two", Row()).samples <= LEFT_SAMPLES, rows
    made.clear()
    assert_all_is_freed(("one", "two"))


CHUNK = bytes(150)


def append(thing):
    for _ in range(200):
        thing.append(None)
    return thing


def pop(thing):
    while len(thing) > 8:
        thing.pop()
    return thing


def extend(thing):
    for _ in range(20):
        thing += CHUNK
    return thing


def shrink(thing):
    del thing[100:]
    return thing


def case_objects():
    """Lists and bytearrays that grow and shrink, and texts that grow by +=."""
    install()
    check_objects("list.append", [lambda: [None] * 20] * 8_000, append)
    check_objects("list.pop", [lambda: [None] * 90] * 8_000, pop)
    check_objects("bytearray +=", [lambda: bytearray(600)] * 3_000, extend)
    check_objects("bytearray: del", [lambda: bytearray(5_000)] * 4_000, shrink)


def concatenate_bytes(kept):
    for number in range(len(kept)):
        with span("one"):
            data = bytes(700)
        with span("two"):
            data += CHUNK
        kept[number] = data
    return 0


def concatenate_text(kept):
    first, length = 0, 700
    for number in range(len(kept)):
        with span("one"):
            text = "x" * length
        first = sys.getsizeof(text)
        with span("two"):
            text += "y" * 900  # of the compiler's constants
        kept[number] = text
    return first


def check_concatenated(concatenate):
    """What of each is the first span's and what the second's, as is said."""
    with rehearsal():
        concatenate([None, None])
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    kept = [None] * 3_000
    first = concatenate(kept)
    gc.collect()
    size = block_bytes(sys.getsizeof(kept[0]))
    rows, share = rows_by_name(), block_bytes(first)
    if first:
        sizes = [share] * len(kept)
        assert_estimate(rows["one"], sizes, RATE_BYTES, "one", SHARE)
    else:
        assert rows.get("one", Row()).samples <= LEFT_SAMPLES, rows
    sizes = [size - share] * len(kept)
    assert_estimate(rows["two"], sizes, RATE_BYTES, "two", SHARE)
    kept.clear()
    assert_all_is_freed(("one", "two"))


def case_concatenated():
    """`bytes +=` makes a new block; `str +=` lets the old one grow, if it can."""
    install()
    check_concatenated(concatenate_bytes)
    check_concatenated(concatenate_text)


if __name__ == "__main__":
    run(globals())
