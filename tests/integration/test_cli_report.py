# SPDX-License-Identifier: Apache-2.0
"""`otel-memory report`: figures of a recording, or one clear line."""

from __future__ import annotations

import json
import subprocess

import pytest

from otel_memory import semconv
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.otlp import write_attributes

from .cli_support import TIMEOUT_SECONDS, cli, environment, words


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "run.jsonl"
    writer = RecordingWriter(path, Start(("python", "app.py"), "/srv", 0.0))
    names = [f"span {number} \x1b[31m" + "x" * 80 for number in range(14)]
    points = [
        {
            "asInt": str(2**20 * (20 - index)),
            "attributes": write_attributes(
                dict(
                    zip(
                        semconv.SPAN_ROW_ATTRIBUTES,
                        (name, "", name, "span"),
                        strict=True,
                    )
                )
            ),
        }
        for index, name in enumerate(names)
    ]
    metric = {"name": semconv.SPAN_LIVE.name, "sum": {"dataPoints": points}}
    writer.write({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
    writer.close(0)
    return path


def test_long_tables_and_names_are_cut_and_nothing_is_wrapped(recording):
    done = cli("report", recording, env=environment(COLUMNS="80"))
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("  span ") for line in lines) == 20
    assert sum("... and 4 more" in line for line in lines) == 2


def test_a_span_name_cannot_control_the_terminal(recording):
    assert "\x1b" not in cli("report", recording).stdout


def test_json_is_the_contract(recording):
    figures = json.loads(cli("report", "--json", recording).stdout)
    assert figures["schema"] == 1
    assert len(figures["spans"]) == 14
    assert figures["spans"][0]["live_bytes"] == 20 * 2**20
    assert figures["spans"][0]["growth_bytes"] is None


def test_a_cut_recording_is_read_with_a_note(recording):
    recording.write_bytes(recording.read_bytes()[:-40])
    done = cli("report", recording)
    assert done.returncode == 0
    assert "Note: The last line of the recording is cut" in done.stdout
    as_json = cli("report", "--json", recording)
    json.loads(as_json.stdout)
    assert "note: The last line" in as_json.stderr


@pytest.mark.parametrize("content", [b"", b"hello", b"{}", b"\xff\x00\n" * 9, b"\n"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_recording_is_one_line_that_names_the_file(tmp_path, content, options):
    path = tmp_path / "other.txt"
    path.write_bytes(content)
    done = cli("report", path, *options)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"otel-memory: report: {path} is ")


def test_a_missing_file_is_one_line(tmp_path):
    done = cli("report", tmp_path / "missing")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("No such file or directory")


def test_words_too_many_are_one_line(recording):
    done = cli("report", recording, "--", "python")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_json_needs_no_rich(recording, tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('not here')")
    environ = environment(PYTHONPATH=str(tmp_path))
    assert cli("report", "--json", recording, env=environ).returncode == 0
    done = cli("report", recording, env=environ)
    assert done.returncode == 2
    assert "pip install 'otel-memory[cli]'" in done.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_error(recording, options):
    with subprocess.Popen(
        words("report", recording, *options),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as reporting:
        reporting.stdout.close()
        errors = reporting.stderr.read()
        assert reporting.wait(TIMEOUT_SECONDS) == 0
    assert errors == b""
