# SPDX-License-Identifier: Apache-2.0
"""Recordings with evil names, and a reader of the page that is made of them."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from otel_memory import semconv
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.otlp import write_attributes

MIB = 1024**2
START_SECONDS = 1_700_000_000.0
EVIL_NAMES = (
    "<script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "\"><svg onload=document.title='owned'>",
    "<b>bold</b> &lt;i&gt;",
    "{{7*7}} {% raw %}",
    "%{x} %{customdata[0]} %{label}",
    "red \x1b[31m\x00 \u202e",
    "half \udce9",
    "<!-- <script>",
)
LIBRARY = "/srv/venv/lib/python3.11/site-packages"
FRAMES = [
    ["/srv/app/shop/cache.py", 60, "<script>document.title='owned'</script>"],
    ["/srv/app/shop/</script>.py", 7, "view"],
    [f"{LIBRARY}/flask/app.py", 917, "dispatch_request"],
    [f"{LIBRARY}/flask/app.py", 1536, "wsgi_app"],
    [f"{LIBRARY}/werkzeug/serving.py", 333, "run_wsgi"],
    [f"{LIBRARY}/json/<b>.py", 12, "loads"],
    ["<frozen importlib._bootstrap>", 241, "_call_with_frames_removed"],
]
OUTER = [2, 3, 4]
SHORTER = [2, 4]


def live_bytes_of(index):
    return (40 - 3 * index) * MIB


def pair_of(name, entry=None):
    return dict(
        zip(
            semconv.SPAN_ROW_ATTRIBUTES,
            (name, "SERVER", entry or name, semconv.SORT_SPAN),
            strict=True,
        )
    )


def write_recording(
    path,
    names=EVIL_NAMES,
    *,
    ages=True,
    stop_at=2,
    start_seconds=START_SECONDS,
    on_demand=False,
):
    """Write what a run would have left: each name holds less than the one before."""
    writer = RecordingWriter(
        path, Start(("python", "app.py", *names[:2]), "/srv/app", start_seconds)
    )
    for reading in range(1, stop_at + 1):
        writer.write(_metrics(names, reading, stop_at))
    writer.write(_spans(names))
    writer.write(_profile(names, ages=ages, on_demand=on_demand))
    writer.close(0, ["A note with <b>HTML</b>."])
    return path


def _nanoseconds(seconds):
    return str(int((START_SECONDS + seconds) * 1e9))


def _resource():
    attributes = {"process.pid": 17, "service.name": "shop <b>"}
    return {"attributes": write_attributes(attributes)}


def _metrics(names, reading, last):
    def metric(what, *points):
        data = [
            {
                "asInt": str(value),
                "timeUnixNano": _nanoseconds(2 * reading),
                "attributes": write_attributes(attributes),
            }
            for value, attributes in points
        ]
        return {"name": what.name, "sum": {"dataPoints": data}}

    live = [
        (live_bytes_of(index) * reading // last, pair_of(name))
        for index, name in enumerate(names)
    ]
    metrics = [
        metric(semconv.PROCESS_RSS, ((200 + reading) * MIB, {})),
        metric(semconv.LIMIT, (512 * MIB, {})),
        metric(semconv.SPAN_LIVE, *live),
        metric(semconv.SPAN_COUNT, *((5, pair_of(name)) for name in names)),
    ]
    scope = {"metrics": metrics}
    return {"resourceMetrics": [{"resource": _resource(), "scopeMetrics": [scope]}]}


def _spans(names):
    figures = {
        semconv.SPAN_HEAP_PEAK: 9 * MIB,
        semconv.SPAN_HEAP_DELTA: -MIB,
        semconv.SPAN_HEAP_TOP_SITES: ["shop/<b>.py:1 f 8.0 MiB"],
    }
    spans = [
        {
            "traceId": f"{index + 1:032x}",
            "spanId": f"{index + 1:016x}",
            "name": name,
            "startTimeUnixNano": _nanoseconds(1),
            "endTimeUnixNano": _nanoseconds(1.5),
            "attributes": write_attributes(figures),
        }
        for index, name in enumerate(names)
    ]
    scope = {"spans": spans}
    return {"resourceSpans": [{"resource": _resource(), "scopeSpans": [scope]}]}


def _profile(names, *, ages, on_demand):
    pairs, stacks = [], []
    for index, name in enumerate(names):
        pair = {"sort": "span", "span": name, "kind": "SERVER", "entry": name}
        live_bytes = live_bytes_of(index)
        pairs.append({**pair, "live_bytes": live_bytes, "live_samples": 20})
        # A twelfth is left to "(other stacks)".
        paths = ([0, 1, *OUTER], [5, 1, *SHORTER], [6, 5, 6])
        split = (live_bytes // 2, live_bytes // 4, live_bytes // 6)
        for frames, held_bytes in zip(paths, split, strict=True):
            aged = {
                "age_seconds": 700,
                "age_mean_seconds": 650.5,
                "completed_mean": 4.0,
                "live_bytes_by_age": [0, 0, held_bytes // 4, held_bytes * 3 // 4, 0],
                "trace_id": f"{index + 1:032x}",
                "span_id": f"{index + 1:016x}",
            }
            stacks.append(
                {
                    **pair,
                    "frames": frames,
                    "live_bytes": held_bytes,
                    "samples": 5,
                    **(aged if ages else {}),
                }
            )
    body = {"schema": 1, "frames": FRAMES, "pairs": pairs, "stacks": stacks}
    record = {
        "eventName": semconv.EVENT_HEAP_PROFILE,
        "timeUnixNano": _nanoseconds(5),
        "body": {"stringValue": json.dumps(body)},
        "attributes": write_attributes(
            {
                semconv.ATTR_PROFILE_FINAL: not on_demand,
                semconv.ATTR_PROFILE_ON_DEMAND: on_demand,
            }
        ),
    }
    scope = {"logRecords": [record]}
    return {"resourceLogs": [{"resource": _resource(), "scopeLogs": [scope]}]}


class Page(HTMLParser):
    """A page's elements, the texts in them, and its tables.

    Attributes:
        elements: Tag and attributes of each, in order.
        texts: Tag and text, of the innermost element around it.
        tables: By their section's id: rows of cells, each an attribute dict with the
            text under "text".
    """

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.tables = [], [], {}
        self._open, self._section, self._cell = [], None, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in ("meta", "input", "br", "img"):
            self._open.append(tag)
        if tag == "section":
            self._section = attributes.get("id")
        elif tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        elif tag == "code" and self._cell and self._cell["text"]:
            self._cell["text"] += "\n"
        elif tag in ("td", "th"):
            self._cell = {**attributes, "text": ""}
            self.tables[self._section][-1].append(self._cell)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        tag = self._open[-1] if self._open else None
        self.texts.append((tag, data))
        if self._cell is not None and tag not in ("small", "span", "title"):
            self._cell["text"] += data.strip()

    def text_of(self, tag):
        return [text for where, text in self.texts if where == tag]

    def scripts(self):
        """Give attributes and text of each script."""
        attributes = [attrs for tag, attrs in self.elements if tag == "script"]
        texts = self.text_of("script")
        assert len(attributes) == len(texts)
        return list(zip(attributes, texts, strict=True))

    def charts(self):
        (text,) = [text for attrs, text in self.scripts() if attrs.get("id")]
        return json.loads(text)


def shown(name):
    """Give a name as the page shows it."""
    return "".join(each if each.isprintable() else "\ufffd" for each in name)
