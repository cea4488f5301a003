# SPDX-License-Identifier: Apache-2.0
"""MemoryInstrumentor goes in and out, and says in one line what it cannot do."""

from __future__ import annotations

import json
import shutil
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from otel_memory import _guard

from .isolated_support import APPS, cases, output, run, run_case

FIGURES = APPS / "memory_figures.py"


@pytest.mark.extension
@pytest.mark.parametrize(("script", "case"), cases("span_lifecycle.py"))
def test_it_goes_in_and_out(script, case):
    run_case(script, case)


@pytest.fixture
def without_extension(tmp_path):
    """A copy of the package as it is where there was no compiler."""
    package = Path(_guard.__file__).parent
    compiled = [f"*{suffix}" for suffix in EXTENSION_SUFFIXES]
    shutil.copytree(
        package,
        tmp_path / package.name,
        ignore=shutil.ignore_patterns("__pycache__", *compiled),
    )
    return str(tmp_path)


def app(*arguments, **variables):
    """Run the application; give what it prints, and the lines of its errors."""
    done = run(FIGURES, *arguments, **variables)
    assert done.returncode == 0, output(done)
    return json.loads(done.stdout), done.stderr.splitlines()


def assert_rss_only(found):
    assert found["attributes"] == {
        "otel_memory.rss.delta": "int",
        "otel_memory.rss.exclusive": "bool",
    }
    assert found["figures"] == [None] * 6
    assert found["source"]["otel_memory.heap.source"] == "off"
    assert "otel_memory.process.rss" in found["metrics"]
    assert not [name for name in found["metrics"] if ".span." in name]
    assert found["exclusive"] == {"alone": True, "outer": False, "other": False}


def assert_one_warning(errors):
    (line,) = errors
    assert "OTEL_PYTHON_MEMORY_HEAP=native" in line
    assert "the compiled extension is not installed" in line
    assert "spans carry RSS only" in line


def test_without_the_extension_one_warning_and_rss_only(without_extension):
    found, errors = app(PYTHONPATH=without_extension)
    assert found["package"].startswith(without_extension)
    assert_rss_only(found)
    assert_one_warning(errors)
    assert "extension" in found["source"]["otel_memory.heap.reason"]


@pytest.mark.no_extension
def test_a_wheel_without_the_extension_says_so_once():
    found, errors = app()
    assert_rss_only(found)
    assert_one_warning(errors)


@pytest.mark.parametrize("extension", ["with", "without"])
def test_off_by_choice_is_silent(extension, without_extension):
    path = {"PYTHONPATH": without_extension} if extension == "without" else {}
    found, errors = app(OTEL_PYTHON_MEMORY_HEAP="off", **path)
    assert_rss_only(found)
    assert found["source"]["otel_memory.heap.reason"] == ""
    assert errors == []


def test_without_the_extension_the_filter_and_the_limit_hold(without_extension):
    found, _ = app(
        PYTHONPATH=without_extension, OTEL_PYTHON_MEMORY_EXCLUDED_SPANS="alone"
    )
    assert found["attributes"] == {}
    found, _ = app(PYTHONPATH=without_extension, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="1")
    assert found["attributes"] == {"otel_memory.rss.delta": "int"}


def test_without_the_extension_uninstrument_restores(without_extension):
    found, _ = app("uninstrument", PYTHONPATH=without_extension)
    assert found["restored"] is True
    assert found["attributes"] == {}


def test_tracemalloc_gives_process_figures_and_no_span_attributes_of_its_own():
    found, errors = app(OTEL_PYTHON_MEMORY_HEAP="tracemalloc")
    assert errors == []
    assert found["source"]["otel_memory.heap.source"] == "tracemalloc"
    assert "otel_memory.heap.usage" in found["metrics"]
    assert set(found["attributes"]) == {
        "otel_memory.rss.delta",
        "otel_memory.rss.exclusive",
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_PYTHON_MEMORY_HEAP", "nonsense"),
        ("OTEL_PYTHON_MEMORY_SAMPLING", "perhaps"),
        ("OTEL_PYTHON_MEMORY_FUNCTIONS", "no colon"),
        ("OTEL_PYTHON_MEMORY_SPAN_KINDS", "SERVER,NONSENSE"),
        ("OTEL_PYTHON_MEMORY_MAX_SPAN_NAMES", "-1"),
        ("OTEL_PYTHON_MEMORY_LIMIT", "512MiBB"),
        ("OTEL_PYTHON_MEMORY_LIMIT", "-5MiB"),
        ("OTEL_PYTHON_MEMORY_INTERVAL", "0"),
        ("OTEL_PYTHON_MEMORY_INTERVAL", "soon"),
        ("OTEL_PYTHON_MEMORY_PROFILE_INTERVAL", "nan"),
    ],
)
@pytest.mark.extension
def test_a_wrong_variable_is_one_line_and_falls_back(variable, value):
    found, errors = app(**{variable: value})
    (line,) = errors
    assert variable in line
    assert repr(value) in line
    assert len(found["attributes"]) == 6


@pytest.mark.extension
@pytest.mark.parametrize(
    "variable",
    ["OTEL_PYTHON_MEMORY_INCLUDED_SPANS", "OTEL_PYTHON_MEMORY_EXCLUDED_SPANS"],
)
def test_a_glob_that_matches_nothing_is_one_line_at_exit(variable):
    found, errors = app(**{variable: "al*,GET /chekout"})
    assert errors == [f"{variable}=GET /chekout matched no span name"]
    assert bool(found["attributes"]) == ("INCLUDED" in variable)


@pytest.mark.extension
def test_globs_that_match_are_silent():
    _, errors = app(
        OTEL_PYTHON_MEMORY_INCLUDED_SPANS="*", OTEL_PYTHON_MEMORY_EXCLUDED_SPANS="oth*"
    )
    assert errors == []


@pytest.mark.extension
def test_a_context_that_is_not_context_variables_turns_figures_off(tmp_path):
    """Then nobody can say to which span memory belongs."""
    info = tmp_path / "odd_context-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_context]\nodd_context = odd_context:Odd\n"
    )
    (tmp_path / "odd_context.py").write_text(
        "from opentelemetry.context.context import Context, _RuntimeContext\n"
        "class Odd(_RuntimeContext):\n"
        "    stack = [Context()]\n"
        "    def attach(self, context):\n"
        "        self.stack.append(context)\n"
        "        return len(self.stack)\n"
        "    def get_current(self):\n"
        "        return self.stack[-1]\n"
        "    def detach(self, token):\n"
        "        del self.stack[token - 1:]\n"
    )
    path = run("-c", "import os; print(os.environ.get('PYTHONPATH', ''))")
    joined = ":".join(filter(None, [str(tmp_path), path.stdout.strip()]))
    found, errors = app(PYTHONPATH=joined, OTEL_PYTHON_CONTEXT="odd_context")
    (line,) = errors
    assert "OTEL_PYTHON_CONTEXT" in line
    assert set(found["attributes"]) == {
        "otel_memory.rss.delta",
        "otel_memory.rss.exclusive",
    }
