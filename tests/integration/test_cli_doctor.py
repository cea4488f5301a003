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


def findings(cwd=None, **changes):
    done = cli("doctor", "--json", env=clean(**changes), cwd=cwd)
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
        ("OTEL_PYTHON_MEMORY_LIMIT", "512", "a number alone means bytes"),
        ("OTEL_PYTHON_MEMORY_WARNING", "95%", "is above OTEL_PYTHON_MEMORY_CRITICAL"),
        ("OTEL_SDK_DISABLED", "true", "OTEL_SDK_DISABLED=true turns measuring off"),
        ("OTEL_TRACES_EXPORTER", "jaegr", "'jaegr', which is not installed"),
    ],
)
def test_a_wrong_variable_is_a_problem(usual, variable, value, text):
    _, wrong = findings(**{variable: value})
    (new,) = [each for each in wrong if each not in usual]
    assert text in new


OPS = """
import atexit, sys, threading
print("out of the module")
atexit.register(print, "out of its end")
class Desk:
    def ring(self): ...
    number = 7
threading.Thread(target=threading.Event().wait).start()
"""
MODULES = {
    "ops": OPS,
    "leaves": "raise SystemExit('no settings')",
    "dies": "import os; os._exit(0)",
    "package/__init__": "",
    "package/jobs": "def run(): ...",
}
HANDLERS = "OTEL_PYTHON_MEMORY_ALERT_HANDLERS"
FUNCTIONS = "OTEL_PYTHON_MEMORY_FUNCTIONS"


@pytest.fixture
def application(tmp_path):
    """A directory with modules, as an application is started in."""
    (tmp_path / "package").mkdir()
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        (HANDLERS, "ops:Desk.ring", None),
        (HANDLERS, "package.jobs : run", None),
        (HANDLERS, "ops:nosuch", "AttributeError: module 'ops' has no attribute"),
        (HANDLERS, "ops:Desk.number", "it is no function (looked for from /"),
        (HANDLERS, "nomod:x", "ModuleNotFoundError: No module named 'nomod'"),
        (HANDLERS, "leaves:x", "SystemExit: no settings"),
        (HANDLERS, "dies:x", "importing dies ends the process"),
        (FUNCTIONS, "ops:Desk.*,package.jobs:*", None),
        (FUNCTIONS, "nomod:x", "ModuleNotFoundError: No module named 'nomod'"),
        (FUNCTIONS, "nomod:*", "ModuleNotFoundError: No module named 'nomod'"),
        (FUNCTIONS, "ops:Nosuch.*", "has no attribute 'Nosuch'"),
        (FUNCTIONS, "ops:Desk.ring,ops:Desk.rang", "has no attribute 'rang'"),
        (FUNCTIONS, "__main__:work", "is of the script itself; use track_memory"),
    ],
)
def test_what_is_named_is_looked_for_where_python_would(
    usual, application, variable, value, problem
):
    listed, wrong = findings(cwd=application, **{variable: value})
    new = [each for each in wrong if each not in usual]
    if problem is None:
        assert new == []
        names = [name.replace(" ", "") for name in value.split(",")]
        assert [
            each["text"]
            for each in listed
            if each["topic"] in ("handlers", "functions")
        ] == [f"{name} is there" for name in names]
    else:
        (text,) = new
        assert text.startswith(value.rpartition(",")[2])
        assert problem in text


def test_a_directory_for_profiles_must_exist_and_take_files(usual, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "none", tmp_path / "file", "/proc"):
        variable = {"OTEL_PYTHON_MEMORY_PROFILE_DIRECTORY": str(place)}
        _, wrong = findings(**variable)
        (new,) = [each for each in wrong if each not in usual]
        assert new.startswith(f"cannot write to {place}: ")
    listed, wrong = findings(OTEL_PYTHON_MEMORY_PROFILE_DIRECTORY=str(tmp_path))
    assert wrong == usual
    (said,) = [each["text"] for each in listed if each["topic"] == "profiles"]
    assert said == f"are written to {tmp_path}"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


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
