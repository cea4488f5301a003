# SPDX-License-Identifier: Apache-2.0
"""Secrets do not reach a recording."""

from __future__ import annotations

import pytest

from otel_memory.recording.redact import (
    REDACTED,
    redact_command,
    redact_resource,
    redact_variable,
)


@pytest.mark.parametrize(
    "word",
    [
        "--password=hunter2",
        "--db-password=hunter2",
        "API_KEY=hunter2",
        "--api-key=hunter2",
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=hunter2,x=hunter2",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS=a=hunter2",
        "--exporter_otlp_headers=a=hunter2",
        "Authorization: hunter2",
        "Authorization: Bearer hunter2",
        "postgresql://user:hunter2@db/shop",
        "https://api/?token=hunter2",
        "Bearer hunter2",
        "AWS_SECRET_ACCESS_KEY=hunter2",
    ],
)
def test_a_secret_in_a_word_is_taken_out(word):
    (redacted,) = redact_command([word])
    assert "hunter2" not in redacted
    assert REDACTED in redacted


def test_the_word_after_a_secret_option_is_taken_out():
    command = ["app", "--password", "hunter2", "--exporter_otlp_headers", "a=hunter2"]
    assert redact_command(command) == [
        "app",
        "--password",
        REDACTED,
        "--exporter_otlp_headers",
        REDACTED,
    ]


def test_other_words_stay_as_they_are():
    command = ["python", "-m", "shop", "--bind=0.0.0.0:80", "--workers", "4", "a=b"]
    assert redact_command(command) == command


def test_a_url_keeps_everything_but_the_user():
    (redacted,) = redact_command(["redis://:hunter2@cache:6379/0"])
    assert redacted == f"redis://{REDACTED}@cache:6379/0"


def test_command_lines_among_resource_attributes_are_redacted():
    attributes = {
        "process.command_args": ["app", "--token", "hunter2"],
        "process.command_line": "app --token hunter2",
        "service.name": "shop",
    }
    redacted = redact_resource(attributes)
    assert "hunter2" not in str(redacted)
    assert redacted["service.name"] == "shop"


def test_a_variable_is_a_secret_by_its_name():
    assert redact_variable("OTEL_EXPORTER_OTLP_HEADERS", "a=b") == REDACTED
    assert redact_variable("OTEL_SERVICE_NAME", "shop") == "shop"
