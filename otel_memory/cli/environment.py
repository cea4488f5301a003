# SPDX-License-Identifier: Apache-2.0
"""The environment that `otel-memory run` gives to the command.

What the user has configured stays: our exporters come beside the user's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from otel_memory import config

EXPORTER = "otel_memory"
"""The name of our exporters among the entry points."""

_LOOPBACK = "127.0.0.1"
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_NO_EXPORTER = "none"
_DEFAULT_EXPORTER = "otlp"
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?")


def child_environment(
    environ: Mapping[str, str],
    command: Sequence[str],
    *,
    endpoint: str,
    token: str,
    profile_interval_seconds: float,
) -> dict[str, str]:
    """Make the command's environment from ours."""
    child = dict(environ)
    for signal in _SIGNALS:
        child[f"OTEL_{signal}_EXPORTER"] = _exporters(environ, signal)
    child[config.OTEL_PYTHON_MEMORY_RECEIVER] = endpoint
    child[config.OTEL_PYTHON_MEMORY_RECEIVER_TOKEN] = token
    child[config.OTEL_PYTHON_MEMORY_PROFILE_INTERVAL] = f"{profile_interval_seconds:g}"
    for variable in ("NO_PROXY", "no_proxy"):
        child[variable] = _with_loopback(environ.get(variable, ""))
    if not _has_service_name(environ):
        child["OTEL_SERVICE_NAME"] = service_name(command)
    return child


def _exporters(environ: Mapping[str, str], signal: str) -> str:
    configured = environ.get(f"OTEL_{signal}_EXPORTER")
    if configured is None:
        # The distro would choose OTLP, to a collector on this machine. Where
        # nothing points to one, that would only fill the terminal with errors.
        names = [_DEFAULT_EXPORTER] if _has_endpoint(environ, signal) else []
    else:
        names = [name.strip() for name in configured.split(",")]
    others = [name for name in names if name and name.lower() != _NO_EXPORTER]
    return ",".join(dict.fromkeys([*others, EXPORTER]))


def _has_endpoint(environ: Mapping[str, str], signal: str) -> bool:
    variables = (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT",
    )
    return any(environ.get(variable) for variable in variables)


def _with_loopback(hosts: str) -> str:
    listed = [host.strip() for host in hosts.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*listed, _LOOPBACK]))


def _has_service_name(environ: Mapping[str, str]) -> bool:
    attributes = environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    named = any(each.strip().startswith("service.name=") for each in attributes)
    return named or bool(environ.get("OTEL_SERVICE_NAME"))


def service_name(command: Sequence[str]) -> str:
    """Name a service after its command: "app" for `python app.py`."""
    program = os.path.basename(command[0])
    if _PYTHON.fullmatch(program):
        rest = list(command[1:])
        if "-m" in rest[:-1]:
            return rest[rest.index("-m") + 1]
        script = next((word for word in rest if not word.startswith("-")), program)
        program = script if "-c" not in rest else program
    return os.path.basename(program).removesuffix(".py") or "python"
