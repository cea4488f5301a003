# SPDX-License-Identifier: Apache-2.0
"""What `otel-memory doctor` looks at, one function each."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util

from otel_memory import config
from otel_memory._settings import function_target
from otel_memory.cli import lookup
from otel_memory.cli.hints import disabled_by
from otel_memory.config import FunctionTarget, MemoryConfig
from otel_memory.process import open_readings
from otel_memory.recording.redact import redact_variable
from otel_memory.semconv import SOURCE_LOST, SOURCE_OFF
from otel_memory.units import format_bytes

GOOD = "ok"
NEUTRAL = "info"
BAD = "problem"

_ENTRY_POINT = "otel_memory"
_OUR_GROUPS = (
    "opentelemetry_instrumentor",
    "opentelemetry_environment_variables",
    "opentelemetry_traces_exporter",
    "opentelemetry_metrics_exporter",
    "opentelemetry_logs_exporter",
)
_PACKAGES = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-exporter-otlp-proto-http",
    "psutil",
    "wrapt",
)
_SYSTEM_METRICS = "opentelemetry-instrumentation-system-metrics"
_PROBE_SECONDS_MAX = 30
# In an interpreter of its own: the source hooks the allocators of whoever opens it,
# and never takes its hooks out.
_PROBE = """
import json, sys
from otel_memory import heap
source = heap.open_source(sys.argv[1], sampling=sys.argv[2] == "True")
print(json.dumps([source.name, source.reason, source.native_covered]))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: What it is about.
        level: `GOOD`, `NEUTRAL` or `BAD`.
        text: What was found, in plain words.
    """

    topic: str
    level: str
    text: str


def check_all(environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything.

    The modules of configured functions and handlers are imported for it.
    """
    settings, complaints = _settings(environ)
    return [
        *_python(),
        *_heap(environ, settings),
        *_packages(),
        *_launcher(),
        *_entry_points(),
        *_neighbours(),
        *_limit(settings),
        *_functions(environ, settings),
        *_handlers(environ, settings),
        *_profile_directory(settings),
        *_variables(environ, complaints),
    ]


def _settings(environ: Mapping[str, str]) -> tuple[MemoryConfig, list[str]]:
    """Read the settings, and what the instrumented process would warn of."""
    complaints: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("otel_memory")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        return MemoryConfig.from_environment(environ), complaints
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def _python() -> Iterator[Finding]:
    implementation = platform.python_implementation()
    where = f"{platform.system()} {platform.machine()}"
    text = f"{implementation} {platform.python_version()} on {where}"
    level = GOOD if implementation == "CPython" else BAD
    yield Finding("python", level, text)


def _heap(environ: Mapping[str, str], settings: MemoryConfig) -> Iterator[Finding]:
    if util.find_spec("otel_memory.heap") is None:
        yield Finding("heap", BAD, "otel_memory.heap is missing; reinstall otel-memory")
        return
    words = [sys.executable, "-c", _PROBE, settings.heap, str(settings.sampling)]
    try:
        probe = subprocess.run(
            words,
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS_MAX,
            check=False,
        )
        name, reason, native_covered = json.loads(probe.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        yield Finding("heap", BAD, "the heap source does not open: it hangs")
        return
    except (ValueError, IndexError):
        last = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("heap", BAD, f"the heap source does not open: {last}")
        return
    because = f": {reason}" if reason else ""
    as_wished = name == settings.heap
    is_bad = name in (SOURCE_OFF, SOURCE_LOST) and not as_wished
    yield Finding("heap", BAD if is_bad else GOOD, f"source {name}{because}")
    if name != SOURCE_OFF:
        covered = "covered" if native_covered else "not covered: it shows in RSS only"
        yield Finding("heap", NEUTRAL, f"native memory (malloc of libraries) {covered}")
        sampling = "on" if settings.sampling else "off, so no live heap is known"
        yield Finding("heap", NEUTRAL, f"sampling {sampling}")


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        version = _version(name)
        if version:
            yield Finding("packages", GOOD, f"{name} {version}")
        else:
            advice = f"{name} is missing; pip install {name}"
            yield Finding("packages", BAD, advice)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _launcher() -> Iterator[Finding]:
    configurators = metadata.entry_points(group="opentelemetry_configurator")
    if configurators:
        names = ", ".join(sorted({each.value for each in configurators}))
        yield Finding("distro", GOOD, names)
    else:
        yield Finding("distro", BAD, "none; pip install opentelemetry-distro")
    beside = shutil.which(
        "opentelemetry-instrument", path=os.path.dirname(sys.executable)
    )
    found = beside or shutil.which("opentelemetry-instrument")
    if found:
        yield Finding("distro", GOOD, f"opentelemetry-instrument is {found}")
    else:
        yield Finding("distro", BAD, "opentelemetry-instrument is not found")


def _entry_points() -> Iterator[Finding]:
    for group in _OUR_GROUPS:
        if metadata.entry_points(group=group, name=_ENTRY_POINT):
            yield Finding("entry points", GOOD, group)
        else:
            text = f"{group} lacks ours; reinstall otel-memory"
            yield Finding("entry points", BAD, text)


def _neighbours() -> Iterator[Finding]:
    version = _version(_SYSTEM_METRICS)
    if version:
        text = f"{_SYSTEM_METRICS} {version}: what it emits, we do not emit twice"
        yield Finding("beside us", NEUTRAL, text)


def _limit(settings: MemoryConfig) -> Iterator[Finding]:
    found = open_readings().limit_bytes()
    if settings.limit_bytes is not None:
        text = f"{format_bytes(settings.limit_bytes)}, as configured"
    elif found is not None:
        text = f"{format_bytes(found)}, the container's"
    else:
        text = f"none; set {config.OTEL_PYTHON_MEMORY_LIMIT} to have one"
    yield Finding("limit", NEUTRAL, text)


def _functions(environ: Mapping[str, str], settings: MemoryConfig) -> Iterator[Finding]:
    """Look for the functions that get spans; their modules are imported."""
    targets = settings.function_targets()
    yield from _looked_up(
        "functions", targets, environ, BAD, "is of the script itself; use track_memory"
    )


def _handlers(environ: Mapping[str, str], settings: MemoryConfig) -> Iterator[Finding]:
    """Look for the handlers of alerts; their modules are imported."""
    names = (str(handler) for handler in settings.alert_handlers)
    targets = tuple(target for target in map(function_target, names) if target)
    yield from _looked_up(
        "handlers", targets, environ, NEUTRAL, "is of the script, and was not looked at"
    )


def _looked_up(
    topic: str,
    targets: Sequence[FunctionTarget],
    environ: Mapping[str, str],
    of_script: str,
    about_script: str,
) -> Iterator[Finding]:
    elsewhere = [target for target in targets if target.module != "__main__"]
    problems = lookup.problems(elsewhere, environ)
    for target in targets:
        name = f"{target.module}:{target.qualname}"
        problem = problems.get(target)
        if problem is None:
            yield Finding(topic, of_script, f"{name} {about_script}")
        elif problem:
            text = f"{name}: {problem} (looked for from {os.getcwd()})"
            yield Finding(topic, BAD, text)
        else:
            yield Finding(topic, GOOD, f"{name} is there")


def _profile_directory(settings: MemoryConfig) -> Iterator[Finding]:
    directory = settings.profile_directory
    if directory is None:
        return
    try:
        # Only who tries knows: permissions do not tell of a read-only file system.
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        text = f"cannot write to {directory}: {error.strerror}"
        yield Finding("profiles", BAD, text)
    else:
        yield Finding("profiles", GOOD, f"are written to {directory}")


def _variables(environ: Mapping[str, str], complaints: list[str]) -> Iterator[Finding]:
    for name in sorted(environ):
        if name.startswith("OTEL_"):
            shown = redact_variable(name, environ[name])
            yield Finding("variables", NEUTRAL, f"{name}={shown}")
    known = {setting.variable for setting in config.SETTINGS} | {
        value
        for name, value in vars(config).items()
        if name.startswith("OTEL_") and isinstance(value, str)
    }
    for name in sorted(environ):
        if name.startswith("OTEL_PYTHON_MEMORY_") and name not in known:
            yield Finding("variables", BAD, f"{name} is no variable of ours")
    for complaint in complaints:
        yield Finding("variables", BAD, complaint)
    for setting in disabled_by(environ):
        yield Finding("variables", BAD, f"{setting} turns measuring off")
    for signal in ("TRACES", "METRICS", "LOGS"):
        yield from _exporters(environ, signal)


def _exporters(environ: Mapping[str, str], signal: str) -> Iterator[Finding]:
    variable = f"OTEL_{signal}_EXPORTER"
    group = f"opentelemetry_{signal.lower()}_exporter"
    value = environ.get(variable, "")
    if value.strip().lower() in ("", "none"):
        return
    for name in (each.strip() for each in value.split(",")):
        # "otlp" stands for one of two, by OTEL_EXPORTER_OTLP_PROTOCOL.
        if name != "otlp" and not metadata.entry_points(group=group, name=name):
            text = f"{variable} names {name!r}, which is not installed"
            yield Finding("variables", BAD, text)
