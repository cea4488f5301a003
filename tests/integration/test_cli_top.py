# SPDX-License-Identifier: Apache-2.0
"""`otel-memory top`, of real processes and recordings, in real terminals."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from otel_memory.cli import main

from .cli_support import REPORTS, TIMEOUT_SECONDS, cli, environment, words

APP = Path(__file__).parent / "apps" / "top_waits.py"
SHARED_SECONDS = 3600
NOBODY = 65534
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
ROWS, COLUMNS = 30, 96
WITHOUT_TROUBLE = r"\x1b\[H((?!No news|\x1b\[H)[\s\S])*Growth: since"


@pytest.fixture
def directory():
    """A short one: a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="top-") as directory:
        yield directory


@contextmanager
def app(directory, timeout_seconds=TIMEOUT_SECONDS, **variables):
    """Start the application; whatever happens it is ended."""
    process = subprocess.Popen(
        [sys.executable, str(APP)],
        env=environment(
            XDG_RUNTIME_DIR=directory,
            **{"OTEL_PYTHON_MEMORY_TOP": "true", **variables},
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(timeout_seconds, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == f"ready {process.pid}\n"
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def shared_app():
    """One for tests that leave it as it is."""
    with (
        tempfile.TemporaryDirectory(prefix="top-") as directory,
        app(directory, timeout_seconds=SHARED_SECONDS) as process,
    ):
        yield process


def hold(process, name):
    """Let the application hold more."""
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "held\n"


class Terminal:
    """`otel-memory` in a terminal of its own."""

    def __init__(self, *arguments, rows=ROWS, columns=COLUMNS, **variables):
        self.written = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.exit_code = None
        waits, starts = os.pipe()
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.close(starts)
            os.read(waits, 1)  # ends once the terminal's modes were looked at
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(1, termios.TIOCSWINSZ, size)
            variables = {"TERM": "xterm-256color", **variables}
            os.execve(sys.executable, words(*arguments), environment(**variables))
        self.modes = termios.tcgetattr(self._descriptor)
        os.close(waits)
        os.close(starts)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.exit_code is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._descriptor)

    def press(self, keys):
        os.write(self._descriptor, keys.encode())

    def send(self, number):
        os.kill(self._pid, number)

    def _read(self, deadline):
        left = max(deadline - time.monotonic(), 0)
        assert select.select([self._descriptor], [], [], left)[0], self.written[-2000:]
        try:
            chunk = os.read(self._descriptor, 65536)
        except OSError:  # so a terminal ends
            return False
        self.written += self._decoder.decode(chunk)
        return True

    def wait_for(self, pattern):
        """Read until something is shown that was not before."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        start = len(self.written)
        while not (match := re.search(pattern, self.written[start:])):
            assert self._read(deadline), self.written[-2000:]
        return match

    def wait_for_end(self):
        """Read until the end; give what was shown after the screen was restored."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._read(deadline):
            pass
        self.modes_at_end = termios.tcgetattr(self._descriptor)
        self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        assert self.written.count(ENTER) == self.written.count(LEAVE) == 1
        # The cursor is shown again, too.
        assert self.written.rindex("\x1b[?25h") > self.written.rindex("\x1b[?25l")
        return self.written.rpartition(LEAVE)[2]


@pytest.fixture
def here(capsys, monkeypatch):
    """Run `otel-memory` to its end in this process, which takes no second."""
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        words = [str(argument) for argument in arguments]
        try:
            exit_code = main(words)
        except SystemExit as end:
            exit_code = end.code
        return subprocess.CompletedProcess(words, exit_code, *capsys.readouterr())

    return run


def one_line(done):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def cells(text, first):
    """The cells of the row that begins so."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    (row,) = [row for row in rows if row[0] == first]
    return row


def plain(text):
    """Leave out what commands the terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def names(text):
    """The spans' names in their order."""
    after = text.partition("Spans (bytes are self)")[2].partition("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip())[0] for line in after.splitlines()[2:]]


# --- A process ---------------------------------------------------------------


@pytest.mark.extension
@pytest.mark.exact  # a sanitizer's own memory is resident, too
def test_without_a_terminal_the_tables_are_printed_once(here, directory):
    with app(directory, OTEL_PYTHON_MEMORY_LIMIT="512MiB") as process:
        top = ("top", process.pid)
        # Its socket is found though our environment tells of another directory.
        done = cli(*top)
        assert (done.returncode, done.stderr) == (0, "")
        pid, rss, growth, _, limit, verdict = cells(done.stdout, str(process.pid))
        assert (pid, growth, limit) == (str(process.pid), "-", "512.0 MiB")
        assert 30 < float(rss.removesuffix(" MiB")) < 200
        assert verdict == "too early to tell"
        name, count, allocated, _, live, growth = cells(done.stdout, "holder")
        assert (name, count, growth) == ("holder", "1", "-")
        assert 19 < float(allocated.removesuffix(" MiB")) < 21
        assert 15 < float(live.removesuffix(" MiB")) < 25
        assert "top_waits.py:23 " in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

        by_live = names(done.stdout)
        by_allocated = names(here(*top, "--sort", "allocated").stdout)
        by_count = names(here(*top, "--once", "--sort", "count", "--rows", "1").stdout)
        assert by_live[0] == "holder"
        assert by_allocated[0] == by_count[0] == "generous"
        assert len(by_count) == 1
        process.communicate()
        assert process.returncode == 0
        assert list(Path(directory).rglob("*.sock")) == []


@pytest.mark.extension
def test_in_a_terminal_it_fills_the_screen_and_follows(directory):
    with (
        app(directory) as process,
        Terminal("top", process.pid, "--interval", "0.1s") as terminal,
    ):
        terminal.wait_for(r"holder +1 +")
        assert terminal.written.startswith(ENTER)
        hold(process, "another")
        hold(process, "holder")
        terminal.wait_for(r"holder +2 .* \+\d\d\.\d MiB")
        terminal.wait_for(r"another +1 .* \+\d\d\.\d MiB")
        terminal.press("x")
        terminal.wait_for("holder")  # The key is not heeded.
        terminal.press("q")
        assert terminal.wait_for_end() == ""
        assert terminal.exit_code == 0


@pytest.mark.extension
@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        (lambda terminal: terminal.press("\x03"), 0),
        (lambda terminal: terminal.send(signal.SIGTERM), 128 + signal.SIGTERM),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_however_it_is_ended_the_terminal_is_restored(shared_app, end, exit_code):
    with Terminal("top", shared_app.pid) as terminal:
        terminal.wait_for("holder")
        end(terminal)
        assert terminal.wait_for_end() == ""
        assert terminal.exit_code == exit_code
        assert terminal.modes_at_end == terminal.modes


@pytest.mark.extension
def test_the_last_state_of_a_process_that_ends_stays(here, directory):
    with app(directory) as process:
        arguments = ("top", process.pid, "--interval", "0.1s")
        with Terminal(*arguments) as terminal:
            terminal.wait_for("holder")
            process.kill()  # A zombie, for nobody has waited for it.
            shown = terminal.wait_for_end()
            assert terminal.exit_code == 0
            assert cells(shown, "holder")[1] == "1"
            sentence = f"Process {process.pid} has ended. These are its last figures."
            assert sentence in shown
        line = one_line(here("top", process.pid))
        assert line == f"otel-memory: top: process {process.pid} has ended"


@pytest.mark.extension
def test_a_process_that_stands_still_is_told(shared_app):
    # Time enough for an answer on a busy machine, but for one that stands still.
    arguments = ("top", shared_app.pid, "--interval", "0.1s", "--timeout", "4s")
    with Terminal(*arguments) as terminal:
        terminal.wait_for("holder")
        shared_app.send_signal(signal.SIGSTOP)
        try:
            terminal.wait_for("No news: process .* does not answer; is it stopped")
        finally:
            shared_app.send_signal(signal.SIGCONT)
        terminal.wait_for(WITHOUT_TROUBLE)
        terminal.press("q")
        terminal.wait_for_end()


def test_a_process_without_a_socket_gets_advice(here):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        line = one_line(here("top", process.pid))
        process.communicate(b"\n")
    assert line == (
        f"otel-memory: top: process {process.pid} opens no socket for top; start it "
        "under opentelemetry-instrument with OTEL_PYTHON_MEMORY_TOP=true, or name its "
        "recording instead"
    )


@pytest.mark.extension
def test_where_the_kernel_tells_no_peer_root_believes_nobody(
    here, shared_app, monkeypatch
):
    monkeypatch.delattr("socket.SO_PEERCRED")
    done = here("top", shared_app.pid)
    if os.geteuid() == 0:
        assert "; ask as its user, not as root" in one_line(done)
    else:
        assert "holder" in done.stdout


def test_a_number_that_no_process_has_is_one_line(here):
    for number in ("4194305", "9" * 30):
        line = one_line(here("top", number))
        assert line == f"otel-memory: top: there is no process {number}"


OTHER_USER = """
import os, sys
from importlib import metadata
from otel_memory.cli import main
import otel_memory.top_socket
metadata.version("rich")  # The other user may not be able to read its modules.
pid = 1
if os.geteuid() == 0:
    pid = os.getpid()
    if (child := os.fork()) == 0:
        os.setresuid({nobody}, {nobody}, {nobody})
        os._exit(main(["top", str(pid)]))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.exit(main(["top", str(pid)]))
"""


def test_another_users_process_is_one_line():
    """Root's: of ours as another user if we are root, else of the first process."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_USER.format(nobody=NOBODY)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    line = one_line(done)
    assert re.search(r"process \d+ belongs to root; only root and root can", line)


def test_a_socket_that_another_process_put_there_is_not_asked(
    here, directory, monkeypatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
    folder = Path(directory, f"otel-memory-{os.geteuid()}")
    folder.mkdir()
    import socket

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(str(folder / f"{process.pid}.sock"))
            ours.listen()
            line = one_line(here("top", process.pid))
        process.communicate(b"\n")
    assert "opens no socket for top" in line


# --- A recording -------------------------------------------------------------


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines of a recording, of a process whose figures are known."""
    path = tmp_path_factory.mktemp("top") / "run.jsonl"
    done = cli("run", "--record", path, "--", sys.executable, REPORTS)
    assert done.returncode == 0, done.stderr
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def recording(tmp_path):
    return tmp_path / "run.jsonl"


def append(path, *parts):
    with path.open("ab") as file:
        file.write(b"".join(parts))


def parts_of(lines):
    """A recording's beginning, where the first figures end, and the rest."""
    of_metrics = [n for n, line in enumerate(lines) if b"span.heap.live" in line]
    cut = of_metrics[0] + 1
    return lines[:cut], lines[cut:-1], lines[-1]


def test_a_recording_that_ended_is_shown_and_said_so(here, lines, recording):
    recording.write_bytes(b"".join(lines))
    done = here("top", recording)
    assert (done.returncode, done.stderr) == (0, "")
    row = cells(done.stdout, "get_product_list")
    assert row[1:] == ["400", "900.0 MiB", "5.0 MiB", "119.0 MiB", "+99.0 MiB"]
    assert "reports_by_hand.py:41 " in done.stdout
    sentence = "The run has ended with exit code 0. These are its last figures."
    assert done.stdout.splitlines()[-1] == sentence
    with Terminal("top", recording, "--once") as terminal:
        terminal.wait_for("has ended")
        assert ENTER not in terminal.written


def test_a_recording_is_followed_until_the_run_ends(lines, recording):
    first, rest, end = parts_of(lines)
    recording.write_bytes(b"".join(first))
    with Terminal("top", recording, "--interval", "0.1s") as terminal:
        terminal.wait_for(r"get_product_list +400 .* 20\.0 MiB +- ")
        half = len(rest[0]) // 2
        append(recording, rest[0][:half])  # what is not complete is not read
        terminal.wait_for(r"20\.0 MiB +- ")
        append(recording, rest[0][half:], *rest[1:])
        terminal.wait_for(r"get_product_list +400 .* 119\.0 MiB +\+99\.0 MiB")
        append(recording, end)
        shown = terminal.wait_for_end()
    assert terminal.exit_code == 0
    assert cells(shown, "get_product_list")[4] == "119.0 MiB"
    assert "The run has ended with exit code 0. These are its last figures." in shown


def test_a_recording_that_runs_or_is_cut_is_shown_as_far_as_it_goes(
    here, lines, recording
):
    first, rest, _ = parts_of(lines)
    recording.write_bytes(b"".join(first) + rest[0][:-10])
    done = here("top", recording)
    assert (done.returncode, done.stderr) == (0, "")
    assert cells(done.stdout, "get_product_list")[4] == "20.0 MiB"
    assert "ended" not in done.stdout


def test_a_new_recording_of_the_same_name_is_followed(lines, recording):
    first, rest, _ = parts_of(lines)
    recording.write_bytes(b"".join([*first, *rest]))
    with Terminal("top", recording, "--interval", "0.1s") as terminal:
        terminal.wait_for(r"119\.0 MiB")
        other = recording.with_name("other.jsonl")
        other.write_bytes(b"".join(first))
        other.replace(recording)
        terminal.wait_for(r"get_product_list +400 .* 20\.0 MiB +- ")
        recording.unlink()
        shown = terminal.wait_for_end()
    assert terminal.exit_code == 0
    assert cells(shown, "get_product_list")[4] == "20.0 MiB"
    assert "The recording was removed. These are its last figures." in shown


def test_a_new_run_that_has_written_nothing_is_waited_for(lines, recording):
    first, rest, _ = parts_of(lines)
    recording.write_bytes(b"".join([*first, *rest]))
    with Terminal("top", recording, "--interval", "0.1s") as terminal:
        terminal.wait_for(r"119\.0 MiB")
        recording.unlink()
        recording.touch()
        terminal.wait_for("No news: another run has begun, and has written nothing")
        terminal.wait_for(r"119\.0 MiB")
        half = len(first[0]) // 2
        append(recording, first[0][:half])
        terminal.wait_for("No news: another run has begun, and has written nothing")
        append(recording, first[0][half:], *first[1:])
        terminal.wait_for(r"get_product_list +400 .* 20\.0 MiB +- ")
        append(recording, *rest)
        terminal.wait_for(r"119\.0 MiB")
        recording.write_bytes(b"")  # the same file, begun anew
        terminal.wait_for("No news: another run has begun, and has written nothing")
        again = [first[-1]] * (sum(map(len, rest)) // len(first[-1]) + 1)
        append(recording, *first, *again)  # at once longer than it was
        terminal.wait_for(r"get_product_list +400 .* 20\.0 MiB")
        recording.write_bytes(b"")
        terminal.wait_for("No news: another run has begun, and has written nothing")
        recording.unlink()
        shown = terminal.wait_for_end()
    assert terminal.exit_code == 0
    assert "The recording was removed. These are its last figures." in shown
    assert cells(shown, "get_product_list")[4] == "20.0 MiB"


def test_a_broken_line_ends_it_with_one_line(lines, recording):
    first, _, _ = parts_of(lines)
    recording.write_bytes(b"".join(first))
    with Terminal("top", recording, "--interval", "0.1s") as terminal:
        terminal.wait_for("get_product_list")
        append(recording, b"no JSON\n")
        shown = terminal.wait_for_end()
    assert terminal.exit_code == 2
    expected = f"{recording}, line {len(first) + 1}: not OTLP JSON"
    assert shown == f"otel-memory: top: {expected}\r\n"


NOT_YET = "{} has no whole line yet; if its run has just begun, try again"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read {}: No such file or directory"),
        ("", NOT_YET),
        ('{"resourceLogs":[', NOT_YET),
        ("{}\n", "{} is not a recording of otel-memory"),
    ],
)
def test_what_is_no_recording_is_one_line(here, recording, content, problem):
    if content is not None:
        recording.write_text(content)
    assert one_line(here("top", recording)) == (
        f"otel-memory: top: {problem.format(recording)}"
    )


def test_the_verdict_of_the_process_itself_is_shown(here, lines, recording):
    first, _, _ = parts_of(lines)
    (metrics,) = [json.loads(line) for line in first if b"span.heap.live" in line]
    shown = metrics["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    for name, value in (("leak.state", 4), ("growth", 52 * 1024**2)):
        point = {"asInt": str(value), "timeUnixNano": "1"}
        shown.append({"name": f"otel_memory.{name}", "gauge": {"dataPoints": [point]}})
    recording.write_bytes(b"".join(first) + json.dumps(metrics).encode() + b"\n")
    assert "leaking +52.0 MiB/h" in here("top", recording).stdout


def test_a_small_terminal_is_not_overfilled(lines, recording):
    """Though variables tell of a larger one, as readline's in whatever started us do."""
    recording.write_bytes(b"".join(lines[:-1]))
    arguments = ("top", recording, "--interval", "0.1s")
    large = {"LINES": "24", "COLUMNS": "80"}
    with Terminal(*arguments, rows=14, columns=60, **large) as terminal:
        terminal.wait_for("PID")
        terminal.wait_for("PID")
        terminal.press("q")
        terminal.wait_for_end()
    assert terminal.exit_code == 0
    before, *frames, last = terminal.written.split("\x1b[H")
    last, _, after = last.partition(LEAVE)
    assert plain(before) == plain(after) == ""
    frames = [plain(frame) for frame in (*frames, last)]
    assert sum("PID" in frame for frame in frames) >= 2
    for frame in frames:
        shown = frame.splitlines()
        assert len(shown) <= 14, terminal.written
        assert all(len(line) <= 60 for line in shown), terminal.written


def test_a_screen_of_usual_size_has_whole_sentences(lines, recording):
    recording.write_bytes(b"".join(lines[:-1]))
    with Terminal("top", recording, rows=24, columns=80) as terminal:
        terminal.wait_for("q quits")
        terminal.press("q")
        terminal.wait_for_end()
    *_, frame = [plain(frame) for frame in terminal.written.split("\x1b[H")]
    said = " ".join(frame.split())
    assert "estimated from samples. Growth: since the first report. q quits." in said
    assert len(frame.splitlines()) <= 24


def test_a_terminal_that_can_do_nothing_gets_the_tables_once(lines, recording):
    recording.write_bytes(b"".join(lines[:-1]))
    with Terminal("top", recording, TERM="dumb") as terminal:
        terminal.wait_for("get_product_list")
        with suppress(AssertionError):  # as there was no screen to restore
            terminal.wait_for_end()
    assert terminal.exit_code == 0
    assert "\x1b" not in terminal.written


def test_bad_arguments_are_refused(here, recording):
    bad = (["--rows", "0"], ["--sort", "size"], ["--timeout", "0s"])
    for arguments in bad:
        done = here("top", recording, *arguments)
        assert done.returncode == 2
        assert arguments[0] in done.stderr


def test_a_run_and_its_recording_together(recording):
    with subprocess.Popen(
        words("run", "--record", recording, "--", sys.executable, REPORTS, "wait"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as launched:
        while launched.stdout.readline() != "ready\n":
            pass
        with Terminal("top", recording, "--interval", "0.1s") as terminal:
            terminal.wait_for("get_product_list")
            launched.send_signal(signal.SIGINT)
            shown = terminal.wait_for_end()
    assert terminal.exit_code == 0
    assert "get_product_list" in shown
    assert "The run has ended with exit code 130." in shown
