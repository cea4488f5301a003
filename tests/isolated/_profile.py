# SPDX-License-Identifier: Apache-2.0
"""What the scripts `profile_*.py` share: blocks of known size, and what chance does.

Each byte is chosen with probability 1/R, so a block of s bytes is sampled with
p = 1 - exp(-s/R) and then stands for s/p bytes. Its variance is s²(1-p)/p, and that of
a row the sum over its blocks. No bound in these scripts is narrower than six standard
deviations of it, but where seeds leave little to chance: of large blocks, of which a
lacking one weighs more than the others do, a right sampler is beyond that once in ten
million times, and otherwise much more rarely.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import math
import sys
from importlib import _bootstrap
from typing import NamedTuple

from otel_memory.heap import SampledStack, _core
from otel_memory.semconv import AGE_EDGES_SECONDS

KIB, MIB = 1024, 1024 * 1024
SIGMAS = 6
LIMIT_SECONDS = 270
GC_HEAD_BYTES = 16
POOL_MAX_BYTES = 512
MMAP_THRESHOLD_BYTES = 128 * KIB
M_MMAP_THRESHOLD = -3
WARM_BYTES = 100 * MIB
LEFT_SAMPLES = 0 if sys.version_info >= (3, 11) else 8
"""Python 3.10 keeps frames and opcode caches that it made in a span, for good."""


def install(**sampling):
    """Hook the allocators. The collector runs when a case says so."""
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    # Else each large block that is freed moves the border beyond which libc maps
    # blocks in whole pages, and with it the size of the next one.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
    reason = _core.install(_bootstrap._find_and_load.__code__)
    assert reason is None, reason
    # Else pymalloc's tables of its arenas grow in the middle of a span.
    warm = [bytes(470) for _ in range(WARM_BYTES // 512)]
    del warm
    _core.set_attributing(True)
    gc.disable()
    with rehearsal(), span("rehearsal"):
        fill([None], int)
    _core.set_sampling(True, **sampling)


def say(*figures):
    """Print what a failing run should show. (`_tools` would bring the whole SDK.)"""
    print(*figures, flush=True)


def run(namespace):
    """Run the case that the command line names."""
    name, *arguments = sys.argv[1:]
    namespace[name](*arguments)


class span:
    """A span, current, of which nothing is left at its end. Not for spans in spans.

    What holds the variables of the context is made anew at each change: at the end of
    the span still as the span's. So it is made once more. No generator, for up to 3.10
    a function's last frame is kept for its next call, with whom it was born in.
    """

    def __init__(self, name):
        self.record = _core.begin(name)

    def __enter__(self):
        _core.context_variable().set(self.record)

    def __exit__(self, *failure):
        variable = _core.context_variable()
        variable.set(False)
        _core.finish(self.record)
        variable.set(None)


@contextlib.contextmanager
def rehearsal():
    """Do it once before it counts: what the interpreter then keeps for the next time
    (frames up to 3.10, caches) is not the span's whose blocks are looked at."""
    _core.set_sampling(False)
    yield
    gc.collect()


class Row(NamedTuple):
    """Of `_core.pairs()`, summed over entries and kinds."""

    count: int = 0
    live: int = 0
    samples: int = 0


def rows_by_name():
    """{span name: Row}; what was born after the span's end counts with it."""
    found = {}
    for (
        _sort,
        name,
        _kind,
        _entry,
        count,
        _bytes,
        _peak,
        live,
        samples,
    ) in _core.pairs():
        row = found.get(name, Row())
        found[name] = Row(row.count + count, row.live + live, row.samples + samples)
    return found


def block_bytes(request):
    """What an allocator takes: steps of 16 in a pool, libc's chunks beyond."""
    if request <= POOL_MAX_BYTES:
        return (request + 15) & ~15
    if request >= MMAP_THRESHOLD_BYTES:  # mapped: whole pages, with a head of 16
        return ((request + 16 + 4095) & ~4095) - 16
    return ((request + 8 + 15) & ~15) - 8


def blocks_of(thing):
    """The sizes of an object's blocks; what a container refers to is not its own."""
    head = GC_HEAD_BYTES if gc.is_tracked(thing) or isinstance(thing, dict) else 0
    first = type(thing).__basicsize__ + head
    if isinstance(thing, (list, dict, bytearray)):
        second = sys.getsizeof(thing) - first
        return [block_bytes(first), block_bytes(second)][: 1 + (second > 0)]
    return [block_bytes(sys.getsizeof(thing))]


def variance(sizes, rate_bytes):
    """Of the estimate of live bytes, for blocks of these sizes."""
    total = 0.0
    for size in sizes:
        probability = -math.expm1(-size / rate_bytes)
        total += size * size * (1 - probability) / probability
    return total


def assert_estimate(
    row, sizes, rate_bytes, what, share=None, *, in_steps=False, sigmas=SIGMAS
):
    """A row holds these blocks: within what chance does, and within `share`.

    A block that grew `in_steps` is many small ones, whose variance is s·R at most.
    """
    held = sum(sizes)
    spread = held * rate_bytes if in_steps else variance(sizes, rate_bytes)
    sigma = math.sqrt(spread)
    say(what, row.live, "of", held, f"sigma {sigma / held:.2%}, samples", row.samples)
    if share is not None:
        assert sigma * sigmas <= share * held, (what, "too few samples to say that")
        assert abs(row.live - held) <= share * held, (what, row, held)
    assert abs(row.live - held) <= sigmas * sigma, (what, row, held, sigma)


def fill(slots, make):
    """Put a new thing into each slot; the list of slots is somebody else's."""
    for number in range(len(slots)):
        slots[number] = make(number)


def assert_all_is_freed(prefix):
    """Nothing lives under these names: not a sample is left."""
    gc.collect()  # also empties the interpreter's free lists
    left = {
        name: row
        for name, row in rows_by_name().items()
        if name.startswith(prefix) and row.samples > LEFT_SAMPLES
    }
    assert left == {}, (left, [row for row in _core.stacks(50) if row[1] in left])


# ---------------------------------------------------------------- populations


class Point:
    __slots__ = ("x", "y")


DICTS = [{f"key {key}": None for key in range(count)} for count in (1, 3, 6, 11, 30)]


def small_object(number):
    return Point() if number % 2 else object()


def some_list(number):
    return [None] * (1 + number * 7 % 90)


def some_dict(number):
    return dict(DICTS[number % len(DICTS)])


def large_bytes(number):
    return bytes(1_000 + number * 331 % 9_000)


MIX = (small_object, some_list, some_dict, large_bytes, bytes)


def mixed(number):
    return MIX[number % len(MIX)](number % 400)


class Population(NamedTuple):
    make: object
    rate_bytes: int

    def of(self, samples):
        """How many things, and the sizes of their blocks, give so many samples.

        "So many" in the sense that counts: their relative variance is 1/samples.
        """
        sizes, number, total, spread = [], 0, 0.0, 0.0
        while total * total < samples * spread or number < 10:
            blocks = blocks_of(self.make(number))
            sizes += blocks
            total += sum(blocks)
            spread += variance(blocks, self.rate_bytes)
            number += 1
        return number, sizes


POPULATIONS = {
    "small objects": Population(small_object, 128),
    "lists": Population(some_list, 512),
    "dicts": Population(some_dict, 512),
    "large bytes": Population(large_bytes, 2 * KIB),
    "mix": Population(mixed, KIB),
}


# --------------------------------------------------- the allocators themselves

word, size_type = ctypes.c_void_p, ctypes.c_size_t
SIGNATURES = {
    "Malloc": (word, (size_type,)),
    "Calloc": (word, (size_type, size_type)),
    "Realloc": (word, (word, size_type)),
    "Free": (None, (word,)),
}
PREFIXES = {"raw": "PyMem_Raw", "mem": "PyMem_", "obj": "PyObject_"}


class Domain:
    """malloc, calloc, realloc and free of one domain; without the GIL if asked so."""

    def __init__(self, name, *, with_gil=True):
        kind = ctypes.PyDLL if with_gil else ctypes.CDLL
        library = kind(ctypes.pythonapi._name)
        for function, (result, arguments) in SIGNATURES.items():
            found = getattr(library, PREFIXES[name] + function)
            found.restype, found.argtypes = result, arguments
            setattr(self, function.lower(), found)


# ------------------------------------------------------------------- readings

SORTS = {"span", "no-span", "telemetry", "import", "after-end", "gc", "other"}


def read_stacks(limit=200):
    """Read the profile by stack, and look whether it can be true."""
    rows = [SampledStack(*row) for row in _core.stacks(limit)]
    assert len(rows) <= limit
    for row in rows:
        assert row.sort in SORTS, row
        assert isinstance(row.name, str), row
        assert isinstance(row.entry, str), row
        assert row.live_bytes > 0, row
        assert row.samples > 0, row
        assert 0 <= row.age_mean_seconds <= row.age_seconds + 1, row
        assert row.completed_mean >= 0, row
        ages = row.live_bytes_by_age
        assert len(ages) == len(AGE_EDGES_SECONDS) + 1, row
        assert min(ages) >= 0, row
        assert abs(sum(ages) - row.live_bytes) <= len(ages), row
        assert (row.trace_id == 0) == (row.span_id == 0), row
        for file, line, function in row.frames:
            assert isinstance(file, str), row
            assert isinstance(line, int), row
            assert isinstance(function, str), row
    lives = [row.live_bytes for row in rows]
    assert lives == sorted(lives, reverse=True)
    return rows


def read_pairs():
    """Read the profile by row, and look whether it can be true."""
    rows = _core.pairs()
    for sort, name, kind, entry, count, allocated, _peak, live, samples in rows:
        assert sort in SORTS, sort
        assert isinstance(name, str), name
        assert isinstance(entry, str), entry
        assert 0 <= kind < 5, kind
        assert min(count, allocated, live, samples) >= 0, (sort, name)
        assert (live > 0) == (samples > 0), (sort, name, live, samples)
    return rows


def read_health():
    """Read how the sampler does; its memory is within the bound at all times."""
    health = _core.health()
    assert 0 < health["memory_bytes"] <= health["memory_bound_bytes"], health
    return health
