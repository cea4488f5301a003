# SPDX-License-Identifier: Apache-2.0
"""`otel-memory run`, with real processes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import stat
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from .cli_support import REPORTS, TIMEOUT_SECONDS, cli, environment, words

MIB = 1024**2


@pytest.fixture
def recording(tmp_path):
    return tmp_path / "run.jsonl"


def report(path):
    done = cli("report", path, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_summary_follows_the_output_which_is_untouched():
    done = cli("run", "--", sys.executable, REPORTS)
    assert done.returncode == 0
    assert done.stdout == "out of the application\n"
    assert done.stderr.startswith("err of the application\n")
    lines = done.stderr.splitlines()
    (site,) = [line for line in lines if "reports_by_hand.py:41" in line]
    assert site.split()[-4:] == ["119.0", "MiB", "+100.0", "MiB"]
    assert any(line.split()[:2] == ["get_product_list", "400"] for line in lines)
    assert any("not a verdict" in line for line in lines)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_wider_than_the_terminal_and_no_row_is_wrapped(columns):
    environ = environment(COLUMNS=str(columns))
    done = cli("run", "--", sys.executable, REPORTS, env=environ)
    lines = done.stderr.splitlines()
    assert max(map(len, lines)) <= columns
    start = lines.index("Spans (bytes are self)")
    assert lines[start + 6] == ""  # A heading and four rows of one line each.


def test_the_recording_holds_the_contract(recording):
    done = cli("run", "--record", recording, "--", sys.executable, REPORTS)
    assert f"Recording: {recording}" in done.stderr
    assert stat.S_IMODE(recording.stat().st_mode) == 0o600
    figures = report(recording)
    (process,) = figures["processes"]
    assert process.pop("pid") > 0
    assert process == {
        "heap_source": "native",
        "native_covered": False,
        "rss_start_bytes": 101 * MIB,
        "rss_end_bytes": process["rss_end_bytes"],
        "rss_peak_bytes": 300 * MIB,
        "limit_bytes": 512 * MIB,
        "ended": "clean",
        "state": "not-enough-data",
        "growth_bytes_per_hour": None,
    }
    assert process["rss_end_bytes"] >= 103 * MIB
    assert figures["command"] == [sys.executable, str(REPORTS)]
    assert [row["sort"] for row in figures["spans"]] == [
        "span",
        "no-span",
        "after-end",
        "span",
    ]
    assert figures["entries"][0] == {
        "sort": "span",
        "name": "GET /recommend",
        "kind": "SERVER",
        "count": 400,
        "allocated_bytes": 1003 * MIB,
        "peak_bytes_max": 9 * MIB,
        "live_bytes": 122 * MIB,
        "live_samples": 122,
        "growth_bytes": 99 * MIB,
        # Of a profile without ages.
        "age_mean_seconds": None,
        "completed_mean": None,
        "live_bytes_by_age": [],
    }
    (site,) = figures["sites"]
    assert (site["line"], site["function"]) == (41, "get_product_list")
    assert site["growth_bytes"] == 100 * MIB
    assert figures["verdict"]["suspects"][0]["span"] == "get_product_list"


def test_json_is_written_beside(tmp_path, recording):
    path = tmp_path / "run.json"
    cli("run", "--record", recording, "--json", path, "--", sys.executable, REPORTS)
    assert json.loads(path.read_text()) == report(recording)


def test_a_forked_process_is_one_of_its_own(recording):
    cli("run", "--record", recording, "--", sys.executable, REPORTS, "fork")
    processes = report(recording)["processes"]
    assert len({process["pid"] for process in processes}) == 2
    assert [process["ended"] for process in processes] == ["clean", "clean"]
    count = [r["count"] for r in report(recording)["entries"] if r["kind"] == "SERVER"]
    assert count == [800]


def test_a_process_that_dies_counts_with_its_last_report(recording):
    done = cli("run", "--record", recording, "--", sys.executable, REPORTS, "killed")
    assert done.returncode == 9
    figures = report(recording)
    assert figures["processes"][0]["ended"] == "unreported"
    assert figures["spans"][0]["live_bytes"] == 119 * MIB


def test_a_source_that_is_off_says_why():
    done = cli("run", "--", sys.executable, REPORTS, "off")
    assert "The heap source is off: no compiler was found." in done.stderr
    assert "Spans are not counted without the native heap source." in done.stderr


@pytest.mark.parametrize("command", ["run", "report"])
def test_the_help_says_how_long_a_verdict_takes(command):
    said = " ".join(cli(command, "--help").stdout.split())
    assert "for 3.25 hours to be called growing or leaking, and for 25 " in said


def test_where_all_rows_are_is_said_of_what_there_is(recording):
    command = ("--", sys.executable, REPORTS, "many")
    for options, place in (
        ((), "`run --json FILE`"),
        (("--record", recording), "`report --json`"),
    ):
        done = cli("run", *options, *command)
        assert f"  ... and 3 more; {place} has all of them\n" in done.stderr
    assert "more; `report --json` has" in cli("report", recording).stdout


def test_a_command_of_several_lines_is_shown_in_one(recording, tmp_path):
    html = tmp_path / "report.html"
    code = "import os\n\nif os:\n\tpass\n"
    done = cli(
        *("run", "--record", recording, "--report", html),
        *("--", sys.executable, "-c", code),
        env=environment(COLUMNS="300"),
    )
    shown = f"{sys.executable} -c import os if os: pass"
    assert f"otel-memory: {shown}, " in done.stderr
    assert f"<title>{shown} · otel-memory</title>" in html.read_text()
    assert report(recording)["command"][-1] == code


def test_a_command_that_reports_nothing_says_so_and_why():
    done = cli("run", "--", sys.executable, "-c", "pass")
    assert "No process has reported anything." in done.stderr
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=* turns" in done.stderr


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", 3),
        ("raise RuntimeError", 1),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 15)", 143),
    ],
)
def test_the_exit_code_is_the_commands(code, expected):
    assert cli("run", "--", sys.executable, "-c", code).returncode == expected


def test_arguments_of_the_command_are_left_alone():
    code = "import sys; print(sys.argv[1:])"
    arguments = ["--record", "x", "--", "--json", "-h", "--version", ""]
    done = cli("run", "--", sys.executable, "-c", code, *arguments)
    assert done.stdout == f"{arguments}\n"


def test_standard_input_reaches_the_command():
    code = "print(input())"
    done = cli("run", "--", sys.executable, "-c", code, input="hello\n")
    assert done.stdout == "hello\n"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGRTMIN + 3, 128 + signal.SIGRTMIN + 3),
    ],
)
def test_signals_reach_the_command_and_the_summary_is_still_printed(number, expected):
    with subprocess.Popen(
        words("run", "--", sys.executable, REPORTS, "wait"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Without a terminal, none has signalled both.
    ) as launched:
        while launched.stdout.readline() != "ready\n":
            pass
        launched.send_signal(number)
        _, errors = launched.communicate(timeout=TIMEOUT_SECONDS)
    assert launched.returncode == expected
    assert "get_product_list" in errors


CATCHES = """
import sys, time
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit({})
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        # Ended by the interrupt, as it should; by the signal itself or its code.
        ("import time; print('ready', flush=True); time.sleep(600)", 0),
        (CATCHES.format(130), 0),
        (CATCHES.format(0), 0),
        # Whatever else it says is its own.
        (CATCHES.format(7), 7),
        (CATCHES.format("'cannot save'"), 1),
        # Not what it was asked with: somebody else may have killed it.
        (CATCHES.replace("sys.exit({})", "import os; os.kill(os.getpid(), 15)"), 143),
    ],
)
def test_a_command_that_obeys_after_the_duration_has_not_failed(code, expected):
    # As long as a machine takes to start it, which nobody knows.
    for duration in ("3s", "12s", "48s"):
        done = cli("run", "--duration", duration, "--", sys.executable, "-c", code)
        if "ready" in done.stdout:
            break
    assert done.returncode == expected, done


def test_a_short_run_fails_on_nothing_and_says_why():
    command = [sys.executable, REPORTS]
    done = cli("run", "--fail-on", "growing", "--", *command)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-2:] == [
        "otel-memory: run: --fail-on growing: too early to tell",
        "otel-memory: run: A process must live for 3.25 hours to be called growing or "
        "leaking.",
    ]
    assert cli("run", "--fail-on", "growing", "--", *command, "three").returncode == 3


def show_environment(**changes):
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    command = [sys.executable, "-c", code]
    done = cli("run", "--", *command, env=environment(**changes))
    return json.loads(done.stdout)


def test_the_environment_of_the_command():
    shown = show_environment(NO_PROXY="internal", OTEL_SERVICE_NAME="shop")
    for signal_name in ("TRACES", "METRICS", "LOGS"):
        assert shown[f"OTEL_{signal_name}_EXPORTER"] == "otel_memory"
    assert shown["NO_PROXY"] == "internal,127.0.0.1"
    assert shown["no_proxy"] == "127.0.0.1"
    assert shown["OTEL_SERVICE_NAME"] == "shop"
    assert shown["OTEL_PYTHON_MEMORY_RECEIVER"].startswith("http://127.0.0.1:")
    assert shown["OTEL_PYTHON_MEMORY_PROFILE_INTERVAL"] == "2"


def test_exporters_that_are_configured_stay():
    shown = show_environment(
        OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="none"
    )
    assert shown["OTEL_TRACES_EXPORTER"] == "console,otel_memory"
    assert shown["OTEL_METRICS_EXPORTER"] == "otel_memory"
    assert shown["OTEL_LOGS_EXPORTER"] == "otel_memory"


def one_line(done):
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_command_that_does_not_exist_is_one_line():
    line = one_line(cli("run", "--", "no-such-program"))
    assert line == "otel-memory: run: no such command: 'no-such-program'"


def test_a_script_without_python_gets_advice(tmp_path):
    (tmp_path / "app.py").touch()
    line = one_line(cli("run", "--", "app.py", cwd=tmp_path))
    assert line.endswith("'app.py' is no command; write: python app.py")


def test_no_command_is_one_line():
    assert "write: otel-memory run -- python app.py" in one_line(cli("run"))


def test_a_recording_that_exists_is_not_overwritten_and_nothing_is_started(recording):
    recording.write_text("precious")
    marker = recording.with_name("started")
    command = [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]
    line = one_line(cli("run", "--record", recording, "--", *command))
    assert line == f"otel-memory: run: {recording} exists; --force overwrites it"
    assert recording.read_text() == "precious"
    assert not marker.exists()
    cli("run", "--record", recording, "--force", "--", *command)
    assert marker.exists()
    assert report(recording)["processes"] == []


def test_secrets_of_the_command_line_are_not_recorded(recording):
    done = cli(
        "run",
        "--record",
        recording,
        "--",
        sys.executable,
        "-c",
        "pass",
        "--password=x1y2z3",
    )
    assert "x1y2z3" not in done.stderr
    assert "x1y2z3" not in recording.read_text()


def test_text_that_no_encoding_has_is_no_error(recording):
    command = [sys.executable, "-c", "pass", os.fsdecode(b"\xff\x1b"), "\u2026"]
    environ = environment(PYTHONIOENCODING="ascii")
    done = cli("run", "--record", recording, "--", *command, env=environ)
    assert done.returncode == 0
    # The line may be wrapped, wherever this interpreter's path ends.
    assert "-c pass ?? ?," in " ".join(done.stderr.split())
    assert report(recording)["command"] == command


def test_a_temporary_recording_is_removed(tmp_path):
    cli(
        "run", "--", sys.executable, "-c", "pass", env=environment(TMPDIR=str(tmp_path))
    )
    assert list(tmp_path.iterdir()) == []


def test_without_rich_it_says_what_to_install(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('not here')")
    environ = environment(PYTHONPATH=str(tmp_path))
    line = one_line(cli("run", "--", sys.executable, "-c", "pass", env=environ))
    assert "pip install 'otel-memory[cli]'" in line


def test_the_exit_code_stays_when_nobody_reads_the_summary():
    with subprocess.Popen(
        words("run", "--", sys.executable, "-c", "raise SystemExit(3)"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as launched:
        launched.stderr.close()
        assert launched.wait(TIMEOUT_SECONDS) == 3


def in_terminal(*arguments, rows=30, columns=90):
    """Run with a terminal, and give all that was written to it."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environ = environment(TERM="xterm-256color")
        os.execve(sys.executable, words(*arguments), environ)
    written = b""
    with suppress(OSError):  # The end of a terminal is an error.
        while chunk := os.read(terminal, 65536):
            written += chunk
    os.close(terminal)
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


STATUS = "import os, time; print(os.isatty(1), flush=True); time.sleep(2)"


def test_a_terminal_gets_a_live_table_below_the_output_and_is_left_clean():
    written, exit_code = in_terminal("run", "--", sys.executable, "-c", STATUS)
    assert exit_code == 0
    assert "True\r\n" in written  # The command still sees a terminal.
    assert "\x1b[1;22r" in written
    assert "otel-memory  " in written
    reset = written.rindex("\x1b[r")
    assert "\x1b[1;22r" not in written[reset:]
    assert written.count("\x1b7") == written.count("\x1b8")
    assert reset < written.index("No process has reported anything.")


@pytest.mark.parametrize("options", [{"rows": 10}, {"columns": 40}])
def test_a_small_terminal_gets_no_live_table(options):
    written, _ = in_terminal("run", "--", sys.executable, "-c", STATUS, **options)
    assert "\x1b7" not in written


def test_no_live_table_on_request():
    written, _ = in_terminal("run", "--no-live", "--", sys.executable, "-c", STATUS)
    assert "\x1b7" not in written


def test_a_run_leaves_nothing_behind(tmp_path):
    done = cli("run", "--", sys.executable, "-c", "", env=environment(TMPDIR=tmp_path))
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == []
