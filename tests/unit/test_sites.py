# SPDX-License-Identifier: Apache-2.0
"""The site of a stack is the innermost line of the user's own code."""

from __future__ import annotations

import pytest

from otel_memory.sites import (
    NATIVE,
    NATIVE_PACKAGE,
    OWN_CODE,
    Frame,
    is_library,
    package_of,
    short_file,
    site_of,
)

JSON = Frame("/usr/lib/python3.12/json/decoder.py", 337, "decode")
DRIVER = Frame("/srv/.venv/lib/python3.12/site-packages/driver/core.py", 9, "fetch")
CACHE = Frame("/srv/shop/cache.py", 41, "get_product_list")
VIEW = Frame("/srv/shop/views.py", 7, "recommend")


def test_library_frames_are_passed_over():
    assert site_of([JSON, DRIVER, CACHE, VIEW]) == CACHE


def test_without_own_code_the_site_is_the_allocating_frame():
    assert site_of([JSON, DRIVER]) == JSON


def test_the_import_system_is_no_site_where_there_is_another():
    loader = Frame("<frozen importlib._bootstrap>", 241, "_call_with_frames_removed")
    assert site_of([loader, DRIVER]) == DRIVER
    assert site_of([loader]) == loader


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
        ("/usr/local/lib/python3.13/test/support/__init__.py", True),
        ("/usr/lib/python3.10/distutils/core.py", True),
        ("/srv/shop/lib/python/tools.py", False),
        ("/app/lib/python3/shop/cache.py", False),
        ("/app/lib/python3/test/cache.py", False),
        ("/app/lib/python3.12/shop/cache.py", False),
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
        ("/srv/lib/python3.12/shop/cache.py", "lib/python3.12/shop/cache.py"),
        ("<string>", "<string>"),
    ],
)
def test_files_are_shown_relative(file, expected):
    assert short_file(file, "/srv") == expected


PACKAGES = "/srv/.venv/lib/python3.12/site-packages"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (DRIVER.file, "driver"),
        (CACHE.file, OWN_CODE),
        (JSON.file, "json"),
        ("app.py", OWN_CODE),
        (f"{PACKAGES}/six.py", "six"),
        (f"{PACKAGES}/google/protobuf/message.py", "google"),
        (f"{PACKAGES}/pip/_vendor/requests/api.py", "pip"),
        (f"{PACKAGES}/driver-1.0-py3.12.egg/driver/core.py", "driver"),
        (f"{PACKAGES}/otel_memory/watcher.py", "otel_memory"),
        ("/usr/lib/python3/dist-packages/apt/cache.py", "apt"),
        ("/usr/lib/python3.12/_pydecimal.py", "_pydecimal"),
        ("/usr/lib/python3.12/_sysconfigdata__linux_.py", "_sysconfigdata__linux_"),
        ("/usr/local/lib/python3.13t/encodings/utf_8.py", "encodings"),
        ("/usr/lib/python3.10/telnetlib.py", "telnetlib"),
        ("/app/lib/python3/shop/cache.py", OWN_CODE),
        ("/app/lib/python3.12/shop/cache.py", OWN_CODE),
        ("/app/lib/python3.12/site-packages/numpy/core.py", "numpy"),
        ("/srv/src/driver/driver/core.py", OWN_CODE),  # an editable install
        ("/srv/checkout/otel_memory/heap/_null.py", "otel_memory"),
        ("/srv/.venv/bin/gunicorn", "gunicorn"),
        ("<frozen runpy>", "runpy"),
        ("<frozen importlib._bootstrap>", "importlib"),
        ("/usr/lib/python3.12/importlib/metadata/__init__.py", "importlib"),
        ("<string>", OWN_CODE),
        ("<stdin>", OWN_CODE),
        ("?", OWN_CODE),
    ],
)
def test_the_package_of_a_frame(file, expected):
    assert package_of([Frame(file, 1, "f")]) == expected


def test_the_package_is_that_of_the_allocating_frame():
    assert package_of([JSON, DRIVER, CACHE]) == "json"
    assert package_of([DRIVER, JSON, CACHE]) == "driver"
    assert package_of([CACHE, DRIVER]) == OWN_CODE


def test_no_frame_is_native():
    assert package_of([]) == NATIVE_PACKAGE


@pytest.mark.parametrize(
    "file",
    [
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
        "<frozen zipimport>",
        "/usr/lib/python3.12/importlib/__init__.py",
        f"{PACKAGES}/__editable___shop_1_0_finder.py",
        "<string>",
        "<attrs generated init driver.Row>",
        "?",
    ],
)
def test_imports_and_generated_code_belong_to_their_caller(file):
    passed_over = Frame(file, 1, "f")
    assert package_of([passed_over, passed_over, DRIVER, CACHE]) == "driver"
    assert package_of([passed_over, CACHE, DRIVER]) == OWN_CODE


@pytest.mark.parametrize("file", ["<stdin>", "<python-input-3>", "<ipython-input-7-a>"])
def test_what_was_typed_in_is_the_users_own(file):
    shell = Frame(f"{PACKAGES}/IPython/core/interactiveshell.py", 1, "run_code")
    assert package_of([Frame(file, 1, "<module>"), shell]) == OWN_CODE
