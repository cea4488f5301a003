# SPDX-License-Identifier: Apache-2.0
"""`otel-memory doctor` names what is wrong, and shows no secret."""

from __future__ import annotations

import json
import os

import pytest

from .cli_support import cli


def clean(**changes):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    return {**kept, **changes}


def findings(**changes):
    done = cli("doctor", "--json", env=clean(**changes))
    document = json.loads(done.stdout)
    wrong = [f["text"] for f in document["findings"] if f["level"] == "problem"]
    assert done.returncode == (1 if wrong else 0)
    assert document["healthy"] is (not wrong)
    assert done.stderr == ""
    return document["findings"], wrong


@pytest.fixture(scope="module")
def usual():
    """What is wrong here without any variable set."""
    return findings()[1]


@pytest.mark.extension
def test_a_complete_installation_is_healthy(usual):
    assert usual == []


def test_it_is_told_in_words():
    done = cli("doctor", env=clean())
    for topic in ("python", "heap", "packages", "distro", "entry points", "limit"):
        assert topic in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].endswith((" wrong.", "is well."))


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("OTEL_PYTHON_MEMORY_HEAP", "fast", "OTEL_PYTHON_MEMORY_HEAP='fast'"),
        ("OTEL_PYTHON_MEMORY_LIMIT", "lots", "OTEL_PYTHON_MEMORY_LIMIT='lots'"),
        ("OTEL_PYTHON_MEMORY_HAEP", "native", "OTEL_PYTHON_MEMORY_HAEP is no variable"),
        ("OTEL_SDK_DISABLED", "true", "OTEL_SDK_DISABLED=true turns measuring off"),
        ("OTEL_TRACES_EXPORTER", "jaegr", "'jaegr', which is not installed"),
    ],
)
def test_a_wrong_variable_is_a_problem(usual, variable, value, text):
    _, wrong = findings(**{variable: value})
    (new,) = [each for each in wrong if each not in usual]
    assert text in new


def test_headers_are_not_shown():
    environ = clean(OTEL_EXPORTER_OTLP_HEADERS="authorization=hunter2")
    done = cli("doctor", env=environ)
    assert "OTEL_EXPORTER_OTLP_HEADERS=[redacted]" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_configured_limit_is_shown():
    listed, _ = findings(OTEL_PYTHON_MEMORY_LIMIT="512MiB")
    (limit,) = [each["text"] for each in listed if each["topic"] == "limit"]
    assert limit == "512.0 MiB, as configured"


def test_it_needs_no_rich(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('not here')")
    done = cli("doctor", env=clean(PYTHONPATH=str(tmp_path)))
    assert "All is well." in done.stdout or "wrong." in done.stdout
