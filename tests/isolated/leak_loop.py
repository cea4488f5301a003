# SPDX-License-Identifier: Apache-2.0
"""Repeat calls of one function of the core, and see whether anything piles up.

Argument: the function's name. A leak grows in every round, by something for each
call; what the interpreter or the C library keeps for later grows in some. So it is
the smallest growth of all rounds that is judged: of Python's blocks, of the C
library's bytes, of file descriptors, and of the references to what was passed in.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import gc
import inspect
import os
import sys
from importlib import _bootstrap

from otel_memory.heap import _core

ROUNDS, CALLS = 6, 400
WARM_UP_CALLS = 600


class MallocInfo(ctypes.Structure):
    """The C library's mallinfo2."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks")),
        *((name, ctypes.c_size_t) for name in ("hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    ]


mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = MallocInfo


class Text(str):
    """Refused where a str is wanted; names are looked at after it was taken."""

    __slots__ = ()

    def __hash__(self):
        raise LookupError


def method(self, *args, **kwargs):
    """Pass its arguments back."""
    return args, kwargs


def give_span(self, name, context, span):
    """As a tracer does."""
    return span


def describe(shares):
    """As `spans` does."""
    return tuple(str(taken_bytes) for frames, taken_bytes in shares)


def failing(self, *args, **kwargs):
    raise LookupError(args)


class Carrier:
    """Takes the attribute that a span's record is."""

    parent = None
    _context = (2**100, 2**50, False, 1)  # as a recorded span's

    def set_attribute(self, name, value):
        return None


KINDS = ("start_span", "end", "update_name", "attach", "detach")
wrappers = {}
name = "a name that is used again and again"
otel = contextvars.ContextVar("otel")
carrier = Carrier()
started = _bootstrap._find_and_load.__code__
settings = ((1, 2), "span", "suppress", otel, int, dict, None, None)
rejected = contextlib.suppress(
    TypeError, ValueError, OverflowError, LookupError, RuntimeError, SystemError
)
WATCHED = (name, otel, carrier, started, settings, method, failing, Text, int, dict)
WATCHED = (*WATCHED, None, True, False, *settings[:1])


def loop_install():
    _core.install(started)
    _core.install(None)


def loop_set_attributing():
    _core.set_attributing(False)
    _core.set_attributing(True)


def loop_set_sampling():
    _core.set_sampling(True, rate_bytes=64, seed=3, capacity=100)
    kept = [bytearray(600) for _ in range(10)]
    _core.set_sampling(False)
    del kept
    with rejected:
        _core.set_sampling(True, rate_bytes="64")


def loop_probe():
    _core.probe()


def loop_mark_lost():
    _core.mark_lost()


def loop_is_lost():
    _core.is_lost()


def loop_totals():
    _core.totals()


def in_span(function):
    record = _core.begin(name)
    _core.context_variable().set(record)
    made = function()
    _core.context_variable().set(None)
    _core.finish(record)
    return made


def sampled():
    _core.set_sampling(True, rate_bytes=64, capacity=100)
    kept = in_span(lambda: [bytearray(700) for _ in range(5)])
    return kept


def loop_pairs():
    kept = sampled()
    _core.pairs()
    del kept


def loop_stacks():
    kept = sampled()
    _core.stacks(50)
    del kept
    for wrong in (-1, "1", 10**30):
        with rejected:
            _core.stacks(wrong)


def loop_health():
    _core.health()


def loop_retire_pair():
    fresh = f"{name} {os.urandom(4)}"
    _core.finish(_core.begin(fresh, 1))
    _core.pairs()
    assert _core.retire_pair("span", fresh, 1, fresh)
    _core.retire_pair("after-end", fresh, 1, name)
    for wrong in (
        *(("x", "y", 1), ("span", "x", "y", "z"), (1, "x", 1, "y")),
        *(("span", Text("x"), 1, "y"), ("span", "x", 1, Text("y"))),
    ):
        with rejected:
            _core.retire_pair(*wrong)


def loop_begin():
    _core.begin(name)  # abandoned
    for wrong in ((1,), (Text(name),), (name, 10**30), (name, 99)):
        with rejected:
            _core.begin(*wrong)


def loop_finish():
    record = _core.begin(name)
    child = in_span(lambda: _core.begin("a child"))
    for _ in range(2):
        _core.finish(record)
        _core.finish(child)
    with rejected:
        _core.finish(carrier)
    for attribute in dir(record):
        getattr(record, attribute)


def loop_completed():
    _core.completed()


def loop_collections():
    _core.collections()


def entry_spans(count):
    for number in range(count):
        span = Carrier()
        wrappers["start_span"](None, f"{name} {number}", context={}, span=span)
        wrappers["end"](span)


def loop_set_entries():
    _core.set_entries(True)
    entry_spans(3)
    _core.set_entries(True)
    _core.set_entries(False)
    with rejected:
        _core.set_entries()


def loop_take_entries():
    _core.set_entries(True)
    entry_spans(3)
    _core.take_entries()
    with rejected:
        _core.take_entries(1)


def loop_entries_dropped():
    _core.set_entries(True)
    entry_spans(30)  # soon there is no room
    _core.entries_dropped()


def loop_context_variable():
    _core.context_variable()


def loop_after_fork_in_child():
    _core.set_entries(True)
    entry_spans(3)
    _core.after_fork_in_child()


def loop_finalize():
    _core.finalize()


def loop_rss_bytes():
    _core.rss_bytes()


def loop_forget_spans():
    _core.set_entries(True)
    entry_spans(3)
    _core.forget_spans()


def loop_configure_spans():
    _core.configure_spans(*settings)
    _core.configure_spans(*settings[:6], method, failing)
    with rejected:
        _core.configure_spans(*settings[:3], *settings[:5])
    with rejected:
        _core.configure_spans()


def loop_set_top_sites():
    _core.set_top_sites(1, describe)
    with rejected:
        _core.set_top_sites("1", None)
    _core.set_top_sites(0, None)


def loop_top_sites():
    """No function of its own: spans that say where they took most."""
    _core.set_sampling(True, rate_bytes=64)
    for answer in (describe, failing, len):
        _core.set_top_sites(1, answer)
        parent, child = Carrier(), Carrier()
        wrappers["start_span"](None, name, context={}, span=parent)
        wrappers["start_span"](None, name, context={"span": parent}, span=child)
        wrappers["attach"](None, {"span": child})
        kept = [bytearray(600) for _ in range(10)]
        wrappers["detach"](None, None)
        for span in (child, parent):
            wrappers["end"](span)
    del kept
    _core.stacks(100)
    _core.set_sampling(False)
    _core.set_top_sites(0, None)


def loop_gc_callback():
    for generation in (0, 2, 3, "2"):
        for phase in ("start", "stop", 1):
            _core.gc_callback(phase, {"generation": generation})


def loop_wrap():
    for kind in KINDS:
        for function in (method, failing):
            wrapper = _core.wrap(kind, function)
            with rejected:
                wrapper(carrier, name, context={"span": carrier})
            with rejected:
                wrapper.__get__(carrier)(name)
            with rejected:
                wrapper()
            for attribute in ("__wrapped__", "__doc__", "__name__", "missing"):
                getattr(wrapper, attribute, None)
            repr(wrapper)
            inspect.signature(wrapper)
    if hasattr(carrier, "_otel_memory_record"):
        del carrier._otel_memory_record
    for wrong in (("no such", method), (1, method), ("end",)):
        with rejected:
            _core.wrap(*wrong)


def loop_spans():
    """No function of its own: the lives of two spans through all the wrappers."""
    parent, child = Carrier(), Carrier()
    wrappers["start_span"](None, name, context={}, span=parent)
    wrappers["start_span"](None, name, context={"span": parent}, span=child)
    wrappers["attach"](None, {"span": child})
    wrappers["update_name"](child, "another name")
    wrappers["detach"](None, None)
    for span in (child, parent, parent):
        wrappers["end"](span)


LOOPS = {
    key.removeprefix("loop_"): value
    for key, value in dict(globals()).items()
    if key.startswith("loop_")
}


def figures():
    """What may pile up. Records of abandoned spans are freed at the next reading."""
    gc.collect()
    _core.pairs()
    info = mallinfo2()
    return {
        "blocks": sys.getallocatedblocks(),
        "bytes of the C library": info.uordblks + info.hblkhd,
        "descriptors": len(os.listdir("/proc/self/fd")),
        **{f"references to {each!r}": sys.getrefcount(each) for each in WATCHED},
    }


def smallest_growth(loop):
    """Of each figure; nothing is kept of a round but that."""
    for _ in range(WARM_UP_CALLS):
        loop()
    smallest, before = {}, figures()
    for _ in range(ROUNDS):
        for _ in range(CALLS):
            loop()
        after = figures()
        for key, figure in after.items():
            grown = figure - before[key]
            smallest[key] = min(grown, smallest.get(key, grown))
        before = after
    return smallest


def main():
    assert _core.install(started) is None
    _core.configure_spans(*settings)
    wrappers.update((kind, _core.wrap(kind, method)) for kind in KINDS)
    wrappers["start_span"] = _core.wrap("start_span", give_span)
    _core.set_attributing(True)
    growth = smallest_growth(LOOPS[sys.argv[1]])
    print(growth)
    # One in twenty calls; the C library's smallest block has 32 bytes.
    limits = {"bytes of the C library": CALLS // 20 * 32}
    leaks = {
        key: grown
        for key, grown in growth.items()
        if grown > limits.get(key, CALLS // 20)
    }
    assert not leaks, f"{CALLS} calls leave behind at least {leaks}"


if __name__ == "__main__":
    main()
