# SPDX-License-Identifier: Apache-2.0
"""The HTML report: one safe file, with the figures that `report --json` has."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import resource
import stat
import sys
from collections import defaultdict

import pytest

from otel_memory.cli import flame
from otel_memory.recording.details import read_details

from .cli_support import REPORTS, cli, environment
from .html_support import (
    EVIL_NAMES,
    MIB,
    Page,
    live_bytes_of,
    shown,
    write_recording,
)

OUR_ELEMENTS = set(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "footer",
        "section",
        "noscript",
        "script",
        "p",
        "h1",
        "h2",
        "span",
        "strong",
        "code",
        "small",
        "dl",
        "div",
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "rect",
        "label",
        "select",
        "option",
        "i",
        "details",
        "summary",
        "ul",
        "li",
    ]
)
UNKNOWN = "\N{EN DASH}"


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path / "run.jsonl")


@pytest.fixture
def html(tmp_path):
    return tmp_path / "report.html"


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """The recording with evil names, and the page that was made of it."""
    folder = tmp_path_factory.mktemp("evil")
    recording, html = write_recording(folder / "run.jsonl"), folder / "report.html"
    done = cli("report", recording, "--html", html)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Report: {html}\n"
    return recording, Page(html.read_text(encoding="utf-8"))


def one_line(done):
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_names_are_text_and_nothing_else(evil):
    _, page = evil
    assert {tag for tag, _ in page.elements} <= OUR_ELEMENTS
    assert not [
        (tag, name)
        for tag, attributes in page.elements
        for name in attributes
        if name.startswith("on")
    ]
    names = [row[0]["text"] for row in page.tables["spans"][1:]]
    assert names == [shown(name) for name in EVIL_NAMES]
    assert "\x1b" not in "".join(text for _, text in page.texts)
    (title,) = page.text_of("title")[:1]
    assert EVIL_NAMES[1] in title
    assert "A note with <b>HTML</b>." in page.text_of("li")
    assert "service shop <b>" in page.text_of("span")


def test_nothing_is_loaded_and_no_other_script_may_run(evil):
    _, page = evil
    assert not [
        attributes
        for _, attributes in page.elements
        if attributes.keys() & {"src", "href", "xlink:href", "srcset", "data", "action"}
    ]
    (style,) = page.text_of("style")
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    run = [text for attributes, text in page.scripts() if "type" not in attributes]
    assert len(run) == 2
    digests = (hashlib.sha256(text.encode()).digest() for text in run)
    allowed = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    assert rules["script-src"].split() == allowed


def test_the_tables_have_the_figures_of_the_json(evil):
    recording, page = evil
    figures = json.loads(cli("report", recording, "--json").stdout)
    columns = {
        "spans": {1: "live_bytes", 3: "growth_bytes", 6: "count", 9: "live_samples"},
        "entries": {1: "live_bytes", 4: "age_mean_seconds", 5: "completed_mean"},
        "sites": {1: "live_bytes", 4: "growth_bytes", 7: "samples"},
        "packages": {1: "live_bytes", 2: "import_bytes", 4: "samples"},
        "processes": {0: "pid", 2: "rss_peak_bytes", 4: "limit_bytes"},
    }
    for table, named in columns.items():
        rows = page.tables[table][1:]
        assert len(rows) == len(figures[table]) > 0
        for row, expected in zip(rows, figures[table], strict=True):
            for index, name in named.items():
                value = row[index].get("data-value")
                if expected[name] is None:
                    assert (value, row[index]["text"]) == (None, UNKNOWN)
                else:
                    assert float(value) == expected[name]
    assert figures["spans"][0]["age_mean_seconds"] == pytest.approx(650.5)
    assert page.tables["spans"][1][1]["text"] == "40.0 MiB"
    assert page.tables["largest"][1][1]["text"] == "9.0 MiB"
    assert page.tables["largest"][1][2]["text"] == "-1.0 MiB"
    assert f"{1:032x}" in page.text_of("code")


def test_the_headline_says_who_holds_how_much_and_where(evil):
    _, page = evil
    strong = page.text_of("strong")
    assert strong[:2] == [EVIL_NAMES[0], "40.0 MiB"]
    total = sum(live_bytes_of(index) for index in range(len(EVIL_NAMES)))
    (said,) = [text for tag, text in page.texts if "live heap (" in text]
    assert said.startswith(f" of {total // MIB}.0 MiB live heap (15%)")


def test_charts_are_valid_and_say_what_was_read(evil):
    from plotly.graph_objects import Figure

    _, page = evil
    charts = page.charts()
    (process,) = charts["processes"]
    for drawn in (process["figure"], charts["live"], *charts["flame"].values()):
        Figure(data=drawn["data"], layout=drawn["layout"])
    rss, limit = process["figure"]["data"]
    assert (rss["x"], rss["y"]) == ([2, 4], [201, 202])
    assert (limit["name"], limit["y"]) == ("Limit", [512, 512])
    live = charts["live"]["data"]
    assert [trace["y"] for trace in live[:2]] == [[20, 40], [18.5, 37]]
    assert live[0]["name"] == "&lt;script&gt;document.title='owned'&lt;/script&gt;"
    assert live[-1]["name"] == "next 3 names"
    assert live[-1]["y"][-1] == sum(live_bytes_of(i) // MIB for i in (7, 8, 9))
    # Plotly would read elements and placeholders.
    labels = charts["flame"]["span"]["data"][0]["labels"]
    assert not [label for label in labels if re.search("[<%]", label)]


@pytest.mark.parametrize(("by", "table"), [("span", "spans"), ("entry", "entries")])
def test_the_flame_graph_adds_up_to_the_tables(evil, by, table):
    recording, page = evil
    figures = json.loads(cli("report", recording, "--json").stdout)
    drawn = page.charts()["flame"][by]
    (trace,) = drawn["data"]
    inner_bytes = defaultdict(int)
    for parent, value in zip(trace["parents"], trace["values"], strict=True):
        inner_bytes[parent] += value
    for own, value in zip(trace["ids"], trace["values"], strict=True):
        assert inner_bytes.get(own, value) == value
    total = sum(live_bytes_of(index) for index in range(len(EVIL_NAMES)))
    assert trace["values"][0] == total
    named = {name: trace["values"][index] for index, name, _ in drawn["choices"]}
    assert named == {shown(row["name"]): row["live_bytes"] for row in figures[table]}
    assert trace["labels"].count("(other stacks)") == len(EVIL_NAMES)


def test_frames_of_the_framework_are_one_box(evil):
    recording, _ = evil
    details = read_details(recording)
    nodes = flame.flame_tree(details.profiles, details.directory, by=flame.BY_SPAN)
    name = next(i for i, node in enumerate(nodes) if node.label == EVIL_NAMES[0])
    below = [node for node in nodes if node.parent == name]
    # The third stack has library frames only, which are shown as they are, and those
    # of the import system, which are not.
    assert [(node.kind, node.label) for node in below] == [
        (flame.KIND_REST, "… 2 to 3 framework frames"),
        (flame.KIND_LIBRARY, "loads"),
        (flame.KIND_REST, "(other stacks)"),
    ]
    assert below[1].place == "json/<b>.py:12"
    own = [node for node in nodes if node.parent == nodes.index(below[0])]
    assert [(node.label, node.place) for node in own] == [
        ("view", "shop/</script>.py:7")
    ]


def test_a_deep_stack_and_many_small_ones_are_drawn_in_bounds(tmp_path):
    from otel_memory.recording.profile import PairFigures, PairKey, Profile, Stack
    from otel_memory.sites import Frame

    pair = PairKey("work", "", "work", "span")
    deep = tuple(Frame(f"/app/{depth}.py", depth, "f") for depth in range(3000))
    stacks = [Stack(pair, deep, 10**9, 1)]
    stacks += [
        Stack(pair, (Frame("/app/a.py", n, "g"), Frame("/app/b.py", 1, "h")), 1000, 1)
        for n in range(1500)
    ]
    total = sum(stack.live_bytes for stack in stacks)
    profile = Profile(
        1, None, True, None, {pair: PairFigures(live_bytes=total)}, tuple(stacks)
    )
    nodes = flame.flame_tree([profile], "/app", by=flame.BY_SPAN)
    assert nodes[0].live_bytes == total
    assert len(nodes) < 3100
    (smaller,) = [node for node in nodes if node.label == "(smaller)"]
    assert smaller.live_bytes == 1500 * 1000


def test_what_was_not_measured_is_a_dash(tmp_path, html):
    recording = write_recording(tmp_path / "run.jsonl", ["work"], ages=False, stop_at=1)
    cli("report", recording, "--html", html)
    page = Page(html.read_text())
    cells = page.tables["spans"][1]
    unknown = [index for index, cell in enumerate(cells) if cell["text"] == UNKNOWN]
    assert unknown == [2, 3, 4, 5, 7, 8]
    assert not [cells[index] for index in unknown if "data-value" in cells[index]]
    assert page.charts()["processes"] == []
    assert page.charts()["live"] is None
    assert any("no two readings" in text for text in page.text_of("p"))


def test_a_run_that_reported_nothing_has_a_page(tmp_path, html):
    done = cli("run", "--report", html, "--", sys.executable, "-c", "pass")
    assert done.returncode == 0
    page = Page(html.read_text())
    assert "No process has reported anything." in page.text_of("p")
    assert page.charts()["flame"] == {"span": None, "entry": None}


def test_run_writes_it_at_the_end(tmp_path, html):
    recording = tmp_path / "run.jsonl"
    done = cli(
        *("run", "--report", html, "--record", recording),
        *("--", sys.executable, REPORTS),
    )
    assert done.returncode == 0
    assert f"Report: {html}\n" in done.stderr
    assert "get_product_list" in done.stderr  # The tables are printed as well.
    again = tmp_path / "again.html"
    cli("report", recording, "--html", again)
    assert html.read_text() == again.read_text()
    page = Page(html.read_text())
    assert page.tables["sites"][1][0]["text"].endswith("apps/reports_by_hand.py:41")


@pytest.mark.parametrize("option", ["--html", "--pprof", "--otlp-profiles"])
def test_files_are_private_and_not_replaced_unasked(recording, html, option):
    html.write_text("precious")
    line = one_line(cli("report", recording, option, html))
    assert line == f"otel-memory: report: {html} exists; --force overwrites it"
    assert html.read_text() == "precious"
    assert cli("report", recording, option, html, "--force").returncode == 0
    assert stat.S_IMODE(html.stat().st_mode) == 0o600
    assert html.stat().st_size > 100


def test_no_file_is_written_over_another_of_the_same_command(recording, html):
    before = recording.read_bytes()
    for options in (
        ("--html", recording),
        ("--html", html, "--pprof", html),
        ("--html", html, "--pprof", html.parent / "." / html.name),
    ):
        done = cli("report", recording, *options, "--force")
        assert "is named twice" in one_line(done)
    assert recording.read_bytes() == before
    assert not html.exists()
    command = ("--", sys.executable, "-c", "open('ran', 'w')")
    done = cli(*("run", "--record", html, "--report", html, *command), cwd=html.parent)
    assert "is named twice" in one_line(done)
    assert not (html.parent / "ran").exists()


def test_times_before_the_start_have_a_page(tmp_path, html):
    """Of a clock that was put back during the run."""
    recording = write_recording(tmp_path / "run.jsonl", start_seconds=2e9)
    assert cli("report", recording, "--html", html).returncode == 0


def test_a_profile_of_one_moment_is_no_run(tmp_path, html):
    recording = write_recording(
        tmp_path / "run.jsonl", ["work"], stop_at=1, on_demand=True
    )
    cli("report", recording, "--html", html)
    text = " ".join(Page(html.read_text()).text_of("p"))
    assert "One moment, no verdict" in html.read_text()
    for wrong in ("at the end", "ended without", "Too early"):
        assert wrong not in text
        assert (
            wrong not in html.read_text().rpartition("<body")[2].partition("<script")[0]
        )


def test_run_does_not_begin_what_it_could_not_report(tmp_path, html):
    html.write_text("precious")
    command = [sys.executable, "-c", f"open({str(tmp_path / 'started')!r}, 'w')"]
    line = one_line(cli("run", "--report", html, "--", *command))
    assert line.endswith("exists; --force overwrites it")
    assert not (tmp_path / "started").exists()
    other = tmp_path / "missing" / "report.html"
    line = one_line(cli("run", "--report", other, "--", *command))
    assert line.endswith("No such file or directory")


def test_a_broken_recording_costs_no_report(tmp_path, html):
    html.write_text("precious")
    (tmp_path / "other").write_text("hello")
    one_line(cli("report", tmp_path / "other", "--html", html, "--force"))
    assert html.read_text() == "precious"


def limit_files():
    # As a full disk would: the page is larger.
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))


def test_a_page_that_cannot_be_finished_leaves_no_file(recording, html):
    done = cli("report", recording, "--html", html, preexec_fn=limit_files)
    line = one_line(done)
    assert line == f"otel-memory: report: cannot write {html}: File too large"
    assert not html.exists()


def test_the_summary_is_shown_though_the_page_cannot_be_written(html):
    command = [sys.executable, REPORTS]
    done = cli("run", "--report", html, "--", *command, preexec_fn=limit_files)
    assert done.returncode == 0
    assert f"Error: cannot write {html}: File too large" in done.stderr
    assert "Spans (bytes are self)" in done.stderr
    assert not html.exists()


def test_a_device_is_no_place_for_a_report(recording):
    line = one_line(cli("report", recording, "--html", "/dev/full", "--force"))
    assert line == "otel-memory: report: /dev/full exists; it is no regular file"


def test_json_goes_to_the_output_and_the_place_of_the_page_beside(recording, html):
    done = cli("report", recording, "--json", "--html", html)
    figures = json.loads(done.stdout)
    assert figures["spans"][0]["live_bytes"] == 40 * MIB
    assert f"Report: {html}" in done.stderr.splitlines()


def test_several_files_are_written_at_once(recording, tmp_path, html):
    pprof, profiles = tmp_path / "heap.pb.gz", tmp_path / "heap.json"
    done = cli(
        *("report", recording, "--html", html),
        *("--pprof", pprof, "--otlp-profiles", profiles),
    )
    assert done.stdout.splitlines() == [
        f"Report: {html}",
        f"pprof profile: {pprof}",
        f"OTLP profiles: {profiles}",
    ]
    assert pprof.read_bytes()[:2] == b"\x1f\x8b"
    (process,) = json.loads(profiles.read_text())["resourceProfiles"]
    assert "shop <b>" in json.dumps(process["resource"])
    binary = tmp_path / "heap.pb"
    cli("report", recording, "--otlp-profiles", binary)
    assert binary.read_bytes()[:1] == b"\x0a"


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_missing_library_is_one_line(recording, tmp_path, html, package):
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / f"{package}.py").write_text("raise ImportError('not here')")
    environ = environment(PYTHONPATH=str(stubs))
    line = one_line(cli("report", recording, "--html", html, env=environ))
    assert line == (
        f"otel-memory: report: the package '{package}' is missing; "
        "pip install 'otel-memory[cli]'"
    )
    assert not html.exists()
    assert cli("report", recording, env=environ).returncode == 0


def test_the_terminal_shows_ages_and_packages_too(recording):
    wide = cli("report", recording, env=environment(COLUMNS="140")).stdout
    (heading,) = [line for line in wide.splitlines() if line.startswith("  Site ")]
    assert heading.split()[-1] == "Age"
    assert "10 min 50 s" in wide
    assert "\nPackages (of the allocating frame)\n" in wide
    narrow = cli("report", recording, env=environment(COLUMNS="80")).stdout
    assert "10 min 50 s" not in narrow
