# SPDX-License-Identifier: Apache-2.0
"""`go tool pprof` reads our files and shows what our tables show.

That the files are right is tested without it. Here is tested what its authors make of
them, on machines that have Go on the `PATH`, and on no others: it is too large to be
installed for this, and no package of Python reads such files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict

import pytest

from otel_memory.recording.details import read_details
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.otlp import write_attributes
from otel_memory.recording.pprof import write_pprof
from otel_memory.semconv import ATTR_PROFILE_FINAL, EVENT_HEAP_PROFILE

pytestmark = pytest.mark.skipif(
    not shutil.which("go"), reason="there is no `go` on the PATH"
)

START_SECONDS = 1_700_000_000.0
PRODUCTS = ("get_product_list", "INTERNAL", "GET /recommend", "span")
RECOMMEND = ("GET /recommend", "SERVER", "GET /recommend", "span")
ODD = ('<b>"\n\ud800', "CLIENT", "GET /x?a=<1>", "span")
IMPORT = ("(import)", "", "(import)", "import")
FRAMES = [
    ["/usr/lib/python3.12/json/decoder.py", 337, "decode"],
    ["/srv/shop/cache.py", 41, "get_product_list"],
    ["/srv/shop/cache.py", 44, "get_product_list"],
    ["/srv/shop/views.py", 7, "<lambda>"],
    ["/srv/app.py", 10, "<module>"],
    ["/srv/\udcff.py", 1, "_Z3foov"],
]
# By process: the pairs, and the stacks as pair, frames, bytes and samples.
PROCESSES = {
    17: (
        {
            PRODUCTS: (130_000_001, 260),
            RECOMMEND: (3_000_000, 6),
            IMPORT: (9_000_000, 18),
            ODD: (501, 1),
        },
        [
            (PRODUCTS, [0, 1, 3, 4], 100_000_000, 200),
            (PRODUCTS, [2, 3, 4], 20_000_001, 40),
            (RECOMMEND, [3, 4], 3_000_000, 6),
            (IMPORT, [], 8_000_000, 16),
            (ODD, [5], 501, 1),
        ],
    ),
    18: ({PRODUCTS: (7_000_000, 14)}, [(PRODUCTS, [2, 3, 4], 7_000_000, 14)]),
}
NODE = re.compile(r"\s*(\d+)B?\s+[\d.]+%\s+[\d.]+%\s+(\d+)B?\s+[\d.]+%\s+(.*)")


def body(pairs, stacks):
    names = ("span", "kind", "entry", "sort")
    return {
        "schema": 1,
        "rate_bytes": 524288,
        "frames": FRAMES,
        "pairs": [
            {**dict(zip(names, pair, strict=True)), "live_bytes": b, "live_samples": n}
            for pair, (b, n) in pairs.items()
        ],
        "stacks": [
            {
                **dict(zip(names, pair, strict=True)),
                "frames": frames,
                "live_bytes": live_bytes,
                "samples": samples,
                "age_mean_seconds": 12.6,
            }
            for pair, frames, live_bytes, samples in stacks
        ],
    }


@pytest.fixture(scope="module")
def details(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "run.jsonl"
    writer = RecordingWriter(path, Start(("python", "app.py"), "/srv", START_SECONDS))
    for pid, process in PROCESSES.items():
        record = {
            "timeUnixNano": str(int((START_SECONDS + 60) * 1e9)),
            "eventName": EVENT_HEAP_PROFILE,
            "body": {"stringValue": json.dumps(body(*process))},
            "attributes": write_attributes({ATTR_PROFILE_FINAL: True}),
        }
        resource = {"attributes": write_attributes({"process.pid": pid})}
        scope = {"logRecords": [record]}
        writer.write({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})
    writer.close(0)
    return read_details(path)


@pytest.fixture(scope="module")
def go(details, tmp_path_factory):
    """Run `go tool pprof` on the export of the recording."""
    directory = tmp_path_factory.mktemp("go")
    with (directory / "heap.pb.gz").open("wb") as file:
        write_pprof(
            details.profiles,
            file,
            start_seconds=details.start_seconds,
            duration_seconds=61.5,
        )

    def run(*options, unit="b"):
        command = ["go", "tool", "pprof", f"-unit={unit}", "-nodefraction=0", *options]
        # The first run builds the tool; nothing is fetched for it.
        return subprocess.run(
            [*command, "heap.pb.gz"],
            cwd=directory,
            env={**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off"},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout

    return run


def nodes(output):
    """Read the lines of `-top`: name to flat and cumulative figures."""
    matches = [NODE.fullmatch(line) for line in output.splitlines()]
    found = {m[3].strip(): (int(m[1]), int(m[2])) for m in matches if m}
    assert len(found) == len([match for match in matches if match])
    return found


def test_lines_hold_what_the_stacks_hold(details, go):
    flat, cumulative = defaultdict(int), defaultdict(int)
    for profile in details.profiles:
        for stack in profile.stacks:
            named = [f"{f.function} {f.file}:{f.line}" for f in stack.frames]
            names = [name.replace("\udcff", r"\udcff") for name in named] or [
                "(native)"
            ]
            flat[names[0]] += stack.live_bytes
            for name in set(names):
                cumulative[name] += stack.live_bytes
    # 10,000,000 of the products and 1,000,000 of the imports have no listed stack.
    flat["(other stacks)"] = cumulative["(other stacks)"] = 11_000_000
    expected = {name: (flat[name], cumulative[name]) for name in cumulative}
    assert nodes(go("-top", "-lines")) == expected


def test_samples_are_the_other_figure(go):
    found = nodes(go("-top", "-sample_index=samples", unit="count"))
    assert found["(native)"] == (16, 16)
    assert found["get_product_list"] == (54, 254)
    assert found["(other stacks)"] == (22, 22)


@pytest.mark.parametrize("tag", ["span", "entry"])
def test_a_flame_graph_by_span_or_entry_has_the_tables_rows(details, go, tag):
    output = nodes(go("-top", "-lines", f"-tagroot={tag}"))
    suffix = f" {tag}"
    found = {
        name.removesuffix(suffix): cumulative
        for name, (_, cumulative) in output.items()
        if name.endswith(suffix)
    }
    rows = {"span": details.summary.spans, "entry": details.summary.entries}[tag]
    escaped = {ODD[0]: r'<b>"\n\ud800'}
    assert found == {escaped.get(row.name, row.name): row.live_bytes for row in rows}


def test_both_at_once_put_spans_below_their_entry(go):
    tree = go("-tree", "-tagroot=entry,span")
    assert re.search(r"137000001B\s+97.86% \|\s+get_product_list", tree)


@pytest.mark.parametrize(
    ("focus", "expected"),
    [
        ("pid=18", 7_000_000),
        ("span=^get_product_list$", 137_000_001),
        ("entry=/recommend", 140_000_001),
        ("kind=SERVER", 3_000_000),
        ("sort=import", 9_000_000),
        ("age_mean=13s:1hr", 138_000_502),
    ],
)
def test_tags_choose(go, focus, expected):
    assert f"accounting for {expected}B," in go("-top", f"-tagfocus={focus}")


def test_tags_are_listed(go):
    tags = go("-tags")
    for name in ("span", "kind", "entry", "sort", "pid", "age_mean"):
        assert re.search(rf"^ *{name}: Total", tags, re.MULTILINE), name


def test_traces_are_listed_by_the_line(go):
    traces = go("-traces", "-tagfocus=kind=CLIENT")
    assert re.search(r"span:  <b>.\\n\\ud800\n", traces)
    assert re.search(r"501B   _Z3foov\n-+\+", traces)


def test_the_head_says_what_it_is(go):
    head = go("-top")
    assert "Live heap by span, estimated from samples by otel-memory." in head
    assert "Type: inuse_space" in head
    assert "Time: 2023-11-14" in head
    assert "Duration: 61.50s, Total samples = 149000502B" in head
