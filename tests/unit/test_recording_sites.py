# SPDX-License-Identifier: Apache-2.0
"""The site of a stack is the innermost line of the user's own code."""

from __future__ import annotations

import pytest

from otel_memory.recording.sites import NATIVE, Frame, is_library, short_file, site_of

JSON = Frame("/usr/lib/python3.12/json/decoder.py", 337, "decode")
DRIVER = Frame("/srv/.venv/lib/python3.12/site-packages/driver/core.py", 9, "fetch")
CACHE = Frame("/srv/shop/cache.py", 41, "get_product_list")
VIEW = Frame("/srv/shop/views.py", 7, "recommend")


def test_library_frames_are_passed_over():
    assert site_of([JSON, DRIVER, CACHE, VIEW]) == CACHE


def test_without_own_code_the_site_is_the_allocating_frame():
    assert site_of([JSON, DRIVER]) == JSON


def test_no_stack_is_native():
    assert site_of([]) == NATIVE


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/usr/lib/python3/dist-packages/apt/cache.py", True),
        ("/usr/local/lib/python3.13t/json/__init__.py", True),
        ("/usr/lib64/python3.9/json/__init__.py", True),
        ("<frozen importlib._bootstrap>", True),
        ("/srv/.venv/bin/gunicorn", True),
        ("/srv/shop/lib/python/tools.py", False),
        ("/srv/shop/bin/lib/jobs.py", False),
        ("<string>", False),
        ("app.py", False),
    ],
)
def test_what_is_a_library(file, expected):
    assert is_library(file) is expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (CACHE.file, "shop/cache.py"),
        (DRIVER.file, "driver/core.py"),
        (JSON.file, "json/decoder.py"),
        ("/opt/other/tool.py", "/opt/other/tool.py"),
        ("<string>", "<string>"),
    ],
)
def test_files_are_shown_relative(file, expected):
    assert short_file(file, "/srv") == expected
