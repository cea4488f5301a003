# SPDX-License-Identifier: Apache-2.0
"""Profiles for the tests of the exports."""

from __future__ import annotations

from otel_memory.recording.profile import PairFigures, PairKey, Profile, Stack
from otel_memory.sites import Frame

START_SECONDS = 1_700_000_000.0
DURATION_SECONDS = 61.5
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"

MODULE = Frame("/srv/app.py", 10, "<module>")
VIEW = Frame("/srv/shop/views.py", 7, "recommend")
CACHE = Frame("/srv/shop/cache.py", 41, "get_product_list")
KEY = Frame("/srv/shop/cache.py", 12, "<lambda>")

PRODUCTS = PairKey("get_product_list", "INTERNAL", "GET /recommend", "span")
RECOMMEND = PairKey("GET /recommend", "SERVER", "GET /recommend", "span")
IMPORT = PairKey("(import)", "", "(import)", "import")
GC = PairKey("(gc)", "", "(gc)", "gc")

# And as they are written for readers that print by the line.
ODD_TEXTS = {
    'say "hello"': 'say "hello"',
    "two\nlines": r"two\nlines",
    "three\u2028or\u2029more": r"three\u2028or\u2029more",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "lone \ud800 surrogate": r"lone \ud800 surrogate",
    "undecodable \udcff": r"undecodable \udcff",
    "nul \x00 and escape \x1b[31m": r"nul \x00 and escape \x1b[31m",
    "größe 日本 👩‍💻": "größe 日本 👩‍💻",
    "back\\slash": "back\\slash",
}


def profile(pid, pairs, stacks, rate_bytes=524288.0):
    return Profile(
        pid=pid,
        time_seconds=START_SECONDS + 60,
        is_final=True,
        rate_bytes=rate_bytes,
        pairs=pairs,
        stacks=tuple(stacks),
    )


def figures(live_bytes, live_samples):
    return PairFigures(400, 10**9, live_bytes, live_samples)


FIRST = profile(
    17,
    {
        PRODUCTS: figures(130_000_000, 260),
        RECOMMEND: figures(3_000_000, 6),
        IMPORT: figures(9_000_000, 18),
        GC: figures(0, 0),
    },
    [
        Stack(
            PRODUCTS,
            (KEY, CACHE, VIEW, MODULE),
            100_000_000,
            200,
            age_seconds=60,
            age_mean_seconds=12.6,
            trace_id=TRACE_ID,
            span_id=SPAN_ID,
        ),
        Stack(PRODUCTS, (CACHE, VIEW, MODULE), 20_000_000, 40, 60, 0.2),
        Stack(RECOMMEND, (VIEW, MODULE), 3_000_000, 6, 3, 2.0),
        Stack(IMPORT, (), 8_000_000, 16, 60, 60.0),
    ],
)
SECOND = profile(
    18,
    {PRODUCTS: figures(7_000_000, 14)},
    [Stack(PRODUCTS, (CACHE, VIEW, MODULE), 7_000_000, 14, 60)],
)


def odd(text):
    """Make a profile that has an odd text wherever a text may be."""
    pair = PairKey(text, "INTERNAL", text, "span")
    stack = Stack(pair, (Frame(text, 1, text),), 1_000, 1)
    return profile(17, {pair: figures(1_500, 2)}, [stack])


def live_bytes_of(*profiles):
    """Sum up what the tables show."""
    return sum(
        pair.live_bytes or 0 for profile in profiles for pair in profile.pairs.values()
    )
