# SPDX-License-Identifier: Apache-2.0
"""Sizes, rates and percentages."""

from __future__ import annotations

import random

import pytest

from otel_memory.units import (
    GIB,
    KIB,
    MIB,
    format_bytes,
    format_percentage,
    format_rate,
    parse_bytes,
    parse_percentage,
    parse_rate,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("8388608", 8388608),
        ("0", 0),
        ("7B", 7),
        ("1KiB", KIB),
        ("512MiB", 512 * MIB),
        ("2GiB", 2 * GIB),
        ("3TiB", 3 * 1024**4),
        ("1PiB", 1024**5),
        ("1.5 GB", 1_500_000_000),
        ("10kB", 10_000),
        ("2MB", 2_000_000),
        ("1TB", 10**12),
        ("1PB", 10**15),
        ("512Mi", 512 * MIB),
        ("2Gi", 2 * GIB),
        (" 512mib\n", 512 * MIB),
        ("0.1KiB", 102),
        ("0.5B", 1),
        ("0.3 GB", 300_000_000),
    ],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lots",
        "MiB",
        "-1MiB",
        "+1MiB",
        "1,5MiB",
        "1.MiB",
        ".5MiB",
        "1e3",
        "1_000",
        "512MiB/h",
        "80%",
        "nan",
        "inf",
        "1 2",
        "\u0661MiB",
        "9" * 19,
    ],
)
def test_what_is_no_size_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["512M", "512m", "1G", "1k", "1b2"])
def test_a_unit_that_is_decimal_to_some_and_binary_to_others_is_refused(
    text: str,
) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "bytes_per_hour"),
    [
        ("50MiB/h", 50 * MIB),
        ("1 KiB / s", 3600 * KIB),
        ("1MB/min", 60_000_000),
        ("24KiB/d", KIB),
        ("3/H", 3),
    ],
)
def test_a_rate_is_read_in_bytes_per_hour(text: str, bytes_per_hour: float) -> None:
    assert parse_rate(text) == bytes_per_hour


@pytest.mark.parametrize("text", ["", "/", "50MiB", "50MiB/", "/h", "x/h", "1MiB/y"])
def test_what_is_no_rate_is_refused_and_shown_whole(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate") as caught:
        parse_rate(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("80%", 0.8), (" 3.5 % ", 0.035), ("0%", 0.0), ("100%", 1.0), ("110%", 1.1)],
)
def test_a_percentage_is_read_as_a_fraction(text: str, fraction: float) -> None:
    assert parse_percentage(text) == fraction


@pytest.mark.parametrize("text", ["", "%", "80", "-80%", "eighty%", "80%%", "0.8"])
def test_what_is_no_percentage_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not a percentage") as caught:
        parse_percentage(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (0.4, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1023.7, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (MIB - 1, "1.0 MiB"),
        (int(118.9 * MIB), "118.9 MiB"),
        (GIB - 1, "1.0 GiB"),
        (1023.9 * MIB, "1023.9 MiB"),
        (5000 * 1024**5, "5000.0 PiB"),
        (-3 * MIB, "-3.0 MiB"),
    ],
)
def test_a_size_is_written_for_people(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (1.2 * MIB, "+1.2 MiB"),
        (-1.2 * MIB, "-1.2 MiB"),
        (0, "0 B"),
        (-0.3, "0 B"),
        (12, "+12 B"),
    ],
)
def test_a_change_is_written_with_its_sign(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes, signed=True) == text


def test_what_is_written_is_read_back_to_its_precision() -> None:
    numbers = random.Random(7)
    for _ in range(2000):
        size_bytes = int(2 ** numbers.uniform(0, 59))
        written = format_bytes(size_bytes)
        assert format_bytes(parse_bytes(written)) == written
        tolerance_bytes = max(size_bytes * 0.051, 0.5)
        assert abs(parse_bytes(written) - size_bytes) <= tolerance_bytes


def test_rates_are_written_per_hour() -> None:
    assert format_rate(50 * MIB) == "50.0 MiB/h"
    assert format_rate(-50 * MIB, signed=True) == "-50.0 MiB/h"


def test_percentages_carry_a_decimal_only_where_needed() -> None:
    assert format_percentage(0.8) == "80%"
    assert format_percentage(0.035) == "3.5%"
    assert format_percentage(1.0) == "100%"
