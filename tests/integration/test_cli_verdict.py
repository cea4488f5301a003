# SPDX-License-Identifier: Apache-2.0
"""What the command line says of a verdict, in words, pages and exit codes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from otel_memory import semconv
from otel_memory.cli.verdict import at_a_glance
from otel_memory.recording.summary import Alert, Summary, Verdict
from otel_memory.recording.summary import Process as ProcessSummary
from otel_memory.units import format_bytes

from .cli_support import cli, environment
from .html_support import Page
from .verdict_support import HOUR, MIB, Process, alert, event, write

EVIL = "\x1b[31m<script>document.title='owned'</script>\u202e [bold]x[/bold] {{7*7}}"
LEAKING = Process(17, growth=0.06, limit_bytes=1024 * MIB)
PROFILE = {
    "schema": 1,
    "frames": [["/srv/shop/cache.py", 60, "get_product_list"]],
    "stacks": [
        {
            "span": "get_product_list",
            "entry": "GET /recommend",
            "frames": [0],
            "live_bytes": 98 * MIB,
            "samples": 98,
        }
    ],
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Recordings by the verdict on them."""
    folder = tmp_path_factory.mktemp("recordings")
    profile = event(17, 4 * HOUR, semconv.EVENT_HEAP_PROFILE, json.dumps(PROFILE))
    alerts = [
        alert(3.2 * HOUR, "memory leaks +24.0 MiB/h."),
        alert(3.4 * HOUR, f"memory {EVIL}", **{semconv.ATTR_ALERT_KIND: EVIL}),
    ]
    steady = Process(18)
    young = Process(17, growth=0.06, until=2 * HOUR)
    growing = Process(17, growth=0.06, is_counted=False)
    short = Process(17, until=900.0)
    return {
        "leaking": write(
            folder / "leaking", LEAKING, steady, events=[profile, *alerts]
        ),
        "growing": write(folder / "growing", growing),
        "steady": write(folder / "steady", steady),
        "warming-up": write(folder / "young", young),
        "not-enough-data": write(folder / "short", short),
    }


def report(path, *options, columns=120, code=0):
    done = cli("report", path, *options, env=environment(COLUMNS=str(columns)))
    assert done.returncode == code, done.stderr
    return done


def verdict_of(path, **options):
    """Give the sentences of the verdict on one line, and the lines that follow."""
    _, _, after = report(path, **options).stdout.partition("\nVerdict: ")
    said, _, rest = after.partition("\n\n")
    return " ".join(said.split()), rest.splitlines()


def test_a_leak_is_named_with_its_rate_its_end_and_its_place(recordings):
    said, rest = verdict_of(recordings["leaking"])
    assert said.startswith("Leaking Memory grows by +2")
    assert " MiB/h (between +" in said
    assert "neither warm-up nor traffic nor chance explains it." in said
    assert "At this rate it reaches the limit of 1.0 GiB in about 2" in said
    assert "1 of 2 processes is leaking; these figures are of the worst, 17." in said
    assert rest[0] == "Suspects, by the growth of what they hold"
    assert rest[2].split()[:3] == ["get_product_list", "GET", "/recommend"]
    assert rest[2].endswith("98.0 MiB  shop/cache.py:60 get_product_list")


def test_alerts_are_listed_with_their_time_and_control_no_terminal(recordings):
    done = report(recordings["leaking"])
    assert "after 3 h 12 min, process 17: memory leaks +24.0 MiB/h.\n" in done.stdout
    assert "process 17: memory ?[31m<script>" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


@pytest.mark.parametrize("columns", [60, 120])
def test_nothing_is_wider_than_the_terminal(recordings, columns):
    lines = report(recordings["leaking"], columns=columns).stdout.splitlines()
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("growing", "Growing Memory grows by +2"),
        ("growing", "A cache that fills, traffic or chance may be why."),
        ("growing", "Which span bears the growth is unknown"),
        ("steady", "Steady Memory does not grow by what is worth a ticket: "),
        ("warming-up", "Warming up Memory grows by +2"),
        ("warming-up", "the process is too young to judge"),
        ("not-enough-data", "Too early to tell Rows are ranked by live bytes"),
    ],
)
def test_every_verdict_says_what_it_means(recordings, state, expected):
    said, _ = verdict_of(recordings[state])
    assert expected in said
    assert "None" not in said


def test_who_grows_before_there_is_a_verdict_is_said_to_be_no_verdict(recordings):
    _, rest = verdict_of(recordings["warming-up"])
    assert rest[0] == "Growing so far, which is no verdict"
    assert rest[2].startswith("  get_product_list ")


def test_growth_that_no_span_bears_is_said_to_be_nobodys(tmp_path):
    """As that of a library's own memory, or of what is born outside of spans."""
    path = tmp_path / "run.jsonl"

    class Native(Process):
        def _rows(self, now, age, gained):
            return super()._rows(now, age, 0)

    said, _ = verdict_of(write(path, Native(17, growth=0.06)))
    assert said.startswith("Leaking ")
    assert "No span bears the growth" in said


@pytest.mark.parametrize(
    ("state", "fail_on", "code", "words"),
    [
        ("leaking", "leaking", 3, "memory is leaking"),
        ("leaking", "growing", 3, "memory is leaking"),
        ("growing", "growing", 3, "memory is growing"),
        ("growing", "leaking", 0, ""),
        ("steady", "growing", 0, ""),
        ("warming-up", "growing", 0, "too early to tell"),
        ("not-enough-data", "leaking", 0, "too early to tell"),
    ],
)
def test_the_exit_code_follows_the_verdict(recordings, state, fail_on, code, words):
    # As JSON, for the fold alone is what takes long.
    done = report(recordings[state], "--json", "--fail-on", fail_on, code=code)
    if words:
        assert f"otel-memory: report: --fail-on {fail_on}: {words}" in done.stderr
    else:
        assert done.stderr == ""


def test_files_are_written_whatever_the_verdict_is(recordings, tmp_path):
    html = tmp_path / "report.html"
    options = ("--html", html, "--fail-on", "leaking")
    report(recordings["leaking"], *options, code=3)
    assert html.exists()


def test_other_states_are_no_reason_to_fail(recordings):
    done = report(recordings["steady"], "--fail-on", "steady", code=2)
    assert "invalid choice" in done.stderr


def test_json_has_the_verdict_and_the_alerts(recordings):
    found = json.loads(report(recordings["leaking"], "--json").stdout)
    assert found["verdict"]["state"] == "leaking"
    assert found["alerts"][1]["message"] == f"memory {EVIL}"


@pytest.fixture(scope="module")
def page(recordings, tmp_path_factory):
    html = tmp_path_factory.mktemp("page") / "report.html"
    report(recordings["leaking"], "--html", html)
    return Page(html.read_text(encoding="utf-8"))


def test_the_page_has_the_verdict_and_its_suspects(page):
    (said,) = [text for text in page.text_of("p") if "Memory grows by" in text]
    assert "At this rate it reaches the limit" in said
    assert "Leaking." in page.text_of("strong")
    classes = [each.get("class") for tag, each in page.elements if tag == "p"]
    assert "verdict leaking" in classes
    (suspect,) = [text for text in page.text_of("li") if "get_product_list" in text]
    assert suspect.startswith("get_product_list under GET /recommend: +2")
    assert suspect.endswith(
        "holds 98.0 MiB, most of it from shop/cache.py:60 get_product_list"
    )
    header, *rows = page.tables["processes"]
    columns = [each["text"] for each in header]
    states = [row[columns.index("Verdict")]["text"] for row in rows]
    assert states == ["leaking", "steady"]


def test_alerts_on_the_page_are_text_and_nothing_else(page):
    _, *rows = page.tables["alerts"]
    texts = [[cell["text"] for cell in row] for row in rows]
    assert texts[0][:4] == ["3 h 12 min", "17", "leak", "memory leaks +24.0 MiB/h."]
    evil = EVIL.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
    assert texts[1][2:4] == [evil, f"memory {evil}"]
    assert texts[1][4].splitlines() == [
        "get_product_list (GET /recommend) +24.0 MiB/h",
        "shop/cache.py:60 get_product_list 86.5 MiB",
    ]


def test_each_evidence_has_a_line_and_what_the_message_says_is_not_repeated(tmp_path):
    sites = ["a.py:1 f 3.0 MiB", "b.py:2 g 2.0 MiB", "c.py:3 h 1.0 MiB"]
    told = alert(
        30.0,
        f"memory is high. No span stands out; largest live: {sites[0]}.",
        **{semconv.ATTR_ALERT_SUSPECTS: [], semconv.ATTR_ALERT_TOP_SITES: sites},
    )
    said_all = alert(
        40.0,
        f"memory leaks: {'; '.join(sites)}.",
        **{semconv.ATTR_ALERT_SUSPECTS: [], semconv.ATTR_ALERT_TOP_SITES: sites},
    )
    path, html = tmp_path / "run.jsonl", tmp_path / "report.html"
    write(path, Process(17, until=60.0), events=[told, said_all])
    report(path, "--html", html)
    header, first, second = Page(html.read_text(encoding="utf-8")).tables["alerts"]
    assert header[4]["text"] == "More evidence"
    assert first[4]["text"].splitlines() == sites[1:]
    assert second[4]["text"] == ""


def known(alerts=(), processes=()):
    return Summary(("python",), None, processes, (), (), (), Verdict(), alerts=alerts)


def measured(peak_mib, limit_mib=None):
    limit_bytes = limit_mib and limit_mib * MIB
    peak_bytes = peak_mib and round(peak_mib * MIB)
    return ProcessSummary(
        1, "native", False, 0, 0, peak_bytes, limit_bytes, ended="clean"
    )


RAISED = Alert(1.0, 1, semconv.EVENT_THRESHOLD_EXCEEDED, "warning", "", (), ())
TAKEN_BACK = replace(RAISED, event=semconv.EVENT_RECOVERED)


@pytest.mark.parametrize(
    ("alerts", "processes", "expected"),
    [
        (
            (RAISED, TAKEN_BACK, RAISED),
            (measured(111.8, 115),),
            "Peak 111.8 MiB, 97% of the limit; 2 alerts",
        ),
        ((RAISED,), (measured(111.8),), "Peak 111.8 MiB; 1 alert"),
        ((), (measured(64, 128),), "Peak 64.0 MiB, 50% of the limit"),
        (
            (RAISED,),
            (measured(64, 128), measured(32, 128)),
            "Largest peak 64.0 MiB, 50% of the limit; 1 alert",
        ),
        ((RAISED,), (), "1 alert"),
        ((RAISED,), (measured(None, 128),), "1 alert"),
        ((), (measured(64),), ""),
        ((), (), ""),
    ],
)
def test_the_first_line_has_the_peak_and_the_number_of_alerts(
    alerts, processes, expected
):
    assert at_a_glance(known(alerts, processes)) == expected


def test_it_comes_first_in_the_terminal_and_on_the_page(recordings, page):
    figures = json.loads(report(recordings["leaking"], "--json").stdout)
    peak_bytes = max(each["rss_peak_bytes"] for each in figures["processes"])
    share = round(100 * peak_bytes / (1024 * MIB))
    expected = (
        f"Largest peak {format_bytes(peak_bytes)}, {share}% of the limit; 2 alerts"
    )
    assert report(recordings["leaking"]).stdout.splitlines()[1] == expected
    paragraphs = page.text_of("p")
    assert f"{expected}." in paragraphs
    glance = paragraphs.index(f"{expected}.")
    (said,) = [n for n, text in enumerate(paragraphs) if "Memory grows by" in text]
    assert glance < said
    done = report(recordings["steady"])
    assert done.stdout.splitlines()[1] == ""


def test_on_the_page_too_it_is_too_early_to_tell(recordings, tmp_path):
    html = tmp_path / "report.html"
    report(recordings["not-enough-data"], "--html", html)
    page = Page(html.read_text(encoding="utf-8"))
    header, row = page.tables["processes"]
    columns = [each["text"] for each in header]
    assert row[columns.index("Verdict")]["text"] == "too early to tell"
    assert "Too early to tell." in page.text_of("strong")


def test_a_run_without_alerts_has_no_table_of_them(recordings, tmp_path):
    html = tmp_path / "report.html"
    report(recordings["steady"], "--html", html)
    assert "alerts" not in Page(html.read_text(encoding="utf-8")).tables


def test_a_limit_far_away_is_told_in_days(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, replace(LEAKING, limit_bytes=64 * 1024 * MIB))
    said, _ = verdict_of(path)
    assert " days." in said
