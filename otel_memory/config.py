# SPDX-License-Identifier: Apache-2.0
"""The settings, and the only place that reads the environment.

Arguments beat the environment, which beats the defaults. A wrong argument raises
`ValueError`; a wrong variable is warned of once and falls back. This module is also
the `opentelemetry_environment_variables` entry point: each `OTEL_*` name in it
becomes a flag of `opentelemetry-instrument`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, NamedTuple

from otel_memory import _guard, _settings, semconv
from otel_memory._settings import FunctionTarget as FunctionTarget
from otel_memory._settings import Threshold as Threshold
from otel_memory.span_filter import Glob, SpanFilter
from otel_memory.units import MIB

OTEL_PYTHON_MEMORY_HEAP = "OTEL_PYTHON_MEMORY_HEAP"
"""Source of heap figures: native, tracemalloc or off. Default: native."""
OTEL_PYTHON_MEMORY_SAMPLING = "OTEL_PYTHON_MEMORY_SAMPLING"
"""Whether the live-heap sampler runs: true or false. Default: true."""
OTEL_PYTHON_MEMORY_FUNCTIONS = "OTEL_PYTHON_MEMORY_FUNCTIONS"
"""Functions that get spans, as `shop.cache:get,shop.jobs:*`. Default: none."""
OTEL_PYTHON_MEMORY_INCLUDED_SPANS = "OTEL_PYTHON_MEMORY_INCLUDED_SPANS"
"""Globs: names of spans that carry attributes, as `GET *,checkout`. Default: all."""
OTEL_PYTHON_MEMORY_EXCLUDED_SPANS = "OTEL_PYTHON_MEMORY_EXCLUDED_SPANS"
"""Globs: names of spans that carry no attributes. Default: none."""
OTEL_PYTHON_MEMORY_SPAN_KINDS = "OTEL_PYTHON_MEMORY_SPAN_KINDS"
"""Kinds of spans that carry attributes, as `SERVER,CONSUMER`. Default: all."""
OTEL_PYTHON_MEMORY_MAX_SPAN_NAMES = "OTEL_PYTHON_MEMORY_MAX_SPAN_NAMES"
"""Span names with series of their own in a process's life. Default: 200."""
OTEL_PYTHON_MEMORY_LIMIT = "OTEL_PYTHON_MEMORY_LIMIT"
"""Memory limit, as `512MiB`, that overrides the container's. Default: none."""
OTEL_PYTHON_MEMORY_INTERVAL = "OTEL_PYTHON_MEMORY_INTERVAL"
"""Seconds between two readings of the watcher. Default: 10."""
OTEL_PYTHON_MEMORY_PROFILE_INTERVAL = "OTEL_PYTHON_MEMORY_PROFILE_INTERVAL"
"""Seconds between two heap profiles as log events; 0 is off. Default: 0."""
OTEL_PYTHON_MEMORY_PROFILE_SIGNAL = "OTEL_PYTHON_MEMORY_PROFILE_SIGNAL"
"""Signal that has a heap profile written to a file, as `SIGRTMIN+3`. Default: none."""
OTEL_PYTHON_MEMORY_PROFILE_DIRECTORY = "OTEL_PYTHON_MEMORY_PROFILE_DIRECTORY"
"""Directory of these files in place of the system's temporary one. Default: none."""
OTEL_PYTHON_MEMORY_TOP_SITES_THRESHOLD = "OTEL_PYTHON_MEMORY_TOP_SITES_THRESHOLD"
"""Size from which on a span says which lines took most; 0 is off. Default: 8MiB."""
OTEL_PYTHON_MEMORY_WARNING = "OTEL_PYTHON_MEMORY_WARNING"
"""Memory that is warned of: of the limit, as `80%`, or `2GiB`; or `off`. Default: 80%."""
OTEL_PYTHON_MEMORY_CRITICAL = "OTEL_PYTHON_MEMORY_CRITICAL"
"""Memory that is critical, in the same way. Default: 90%."""
OTEL_PYTHON_MEMORY_GROWTH_WARNING = "OTEL_PYTHON_MEMORY_GROWTH_WARNING"
"""Growth from which on there is a warning, as `50MiB/h`. Default: none."""
OTEL_PYTHON_MEMORY_ALERT_HANDLERS = "OTEL_PYTHON_MEMORY_ALERT_HANDLERS"
"""Functions that are called with each alert, as `shop.ops:on_alert`. Default: none."""
OTEL_PYTHON_MEMORY_SMAPS = "OTEL_PYTHON_MEMORY_SMAPS"
"""Whether USS, PSS and swap are read, which is slow: true or false. Default: false."""
OTEL_PYTHON_MEMORY_TOP = "OTEL_PYTHON_MEMORY_TOP"
"""Whether `otel-memory top` may look inside: true or false. Default: false."""
OTEL_PYTHON_MEMORY_RECEIVER = "OTEL_PYTHON_MEMORY_RECEIVER"
"""Endpoint of the receiver of `otel-memory run`, which sets it. Default: none."""
OTEL_PYTHON_MEMORY_RECEIVER_TOKEN = "OTEL_PYTHON_MEMORY_RECEIVER_TOKEN"
"""The receiver's token; `otel-memory run` sets it. Default: none."""
OTEL_PYTHON_MEMORY_RAISE = "OTEL_PYTHON_MEMORY_RAISE"
"""Whether our own failures are raised, for tests: true or false. Default: false."""

_logger = logging.getLogger("otel_memory")
_warned: set[str] = set()


class Receiver(NamedTuple):
    """Where `otel-memory run` listens."""

    endpoint: str
    token: str


class Setting(NamedTuple):
    """One setting: its variable, its field in `MemoryConfig`, and its reader.

    Attributes:
        empty: What a default that is empty or None is called.
    """

    variable: str
    field: str
    read: Callable[[object], Any]
    empty: str = "none"


SETTINGS = (
    Setting(OTEL_PYTHON_MEMORY_HEAP, "heap", _settings.source),
    Setting(OTEL_PYTHON_MEMORY_SAMPLING, "sampling", _settings.boolean),
    Setting(OTEL_PYTHON_MEMORY_FUNCTIONS, "functions", _settings.functions),
    Setting(
        OTEL_PYTHON_MEMORY_INCLUDED_SPANS, "included_spans", _settings.entries, "all"
    ),
    Setting(OTEL_PYTHON_MEMORY_EXCLUDED_SPANS, "excluded_spans", _settings.entries),
    Setting(OTEL_PYTHON_MEMORY_SPAN_KINDS, "span_kinds", _settings.kinds, "all"),
    Setting(OTEL_PYTHON_MEMORY_MAX_SPAN_NAMES, "max_span_names", _settings.count),
    Setting(OTEL_PYTHON_MEMORY_LIMIT, "limit_bytes", _settings.limit),
    Setting(
        OTEL_PYTHON_MEMORY_INTERVAL, "interval_seconds", _settings.positive_seconds
    ),
    Setting(
        OTEL_PYTHON_MEMORY_PROFILE_INTERVAL,
        "profile_interval_seconds",
        _settings.seconds,
    ),
    Setting(OTEL_PYTHON_MEMORY_PROFILE_SIGNAL, "profile_signal", _settings.signal_name),
    Setting(
        OTEL_PYTHON_MEMORY_PROFILE_DIRECTORY, "profile_directory", _settings.directory
    ),
    Setting(
        OTEL_PYTHON_MEMORY_TOP_SITES_THRESHOLD,
        "top_sites_threshold_bytes",
        _settings.size,
    ),
    Setting(OTEL_PYTHON_MEMORY_WARNING, "warning", _settings.threshold),
    Setting(OTEL_PYTHON_MEMORY_CRITICAL, "critical", _settings.threshold),
    Setting(
        OTEL_PYTHON_MEMORY_GROWTH_WARNING,
        "growth_warning_bytes_per_hour",
        _settings.rate,
    ),
    Setting(OTEL_PYTHON_MEMORY_ALERT_HANDLERS, "alert_handlers", _settings.handlers),
    Setting(OTEL_PYTHON_MEMORY_SMAPS, "smaps", _settings.boolean),
    Setting(OTEL_PYTHON_MEMORY_TOP, "top", _settings.boolean),
)
_RAISE = Setting(OTEL_PYTHON_MEMORY_RAISE, "", _settings.boolean, "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """The settings of one process; each field as its environment variable.

    Text is accepted as in the environment, such as "512MiB" for `limit_bytes`.
    Empty `included_spans` and `span_kinds` mean all. `alert_handlers` may hold
    functions as well as their names.

    Raises:
        ValueError: A value is wrong; the message names the field.
    """

    heap: str = semconv.SOURCE_NATIVE
    sampling: bool = True
    functions: tuple[str, ...] = ()
    included_spans: tuple[str, ...] = ()
    excluded_spans: tuple[str, ...] = ()
    span_kinds: tuple[str, ...] = ()
    max_span_names: int = 200
    limit_bytes: int | None = None
    interval_seconds: float = 10.0
    profile_interval_seconds: float = 0.0
    profile_signal: str | None = None
    profile_directory: str | None = None
    top_sites_threshold_bytes: int = 8 * MIB
    warning: str = "80%"
    critical: str = "90%"
    growth_warning_bytes_per_hour: float | None = None
    alert_handlers: tuple[str | Callable[..., object], ...] = ()
    smaps: bool = False
    top: bool = False

    def __post_init__(self) -> None:
        """Check and normalise every field."""
        for setting in SETTINGS:
            value = getattr(self, setting.field)
            try:
                object.__setattr__(self, setting.field, setting.read(value))
            except ValueError as error:
                message = f"{setting.field}={value!r} {error}"
                raise ValueError(message) from None

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, **arguments: Any
    ) -> MemoryConfig:
        """Join arguments, the environment and the defaults.

        Args:
            environ: In place of `os.environ`; then the guard's switch stays as it is.
            **arguments: Fields; None means "not given".

        Raises:
            ValueError: An argument is wrong; the message names it, or those there are.
        """
        if environ is None:
            environ = os.environ
            reraise = _read_variable(environ, _RAISE, None)
            if reraise is not None:
                _guard.set_reraise(reraise)
        defaults = {field.name: field.default for field in fields(cls)}
        unknown = sorted(arguments.keys() - defaults.keys())
        if unknown:
            raise ValueError(_settings.unknown_arguments(unknown, list(defaults)))
        values = {
            setting.field: _read_variable(environ, setting, defaults[setting.field])
            for setting in SETTINGS
            if arguments.get(setting.field) is None
        }
        settings = cls(**{**arguments, **values})
        if settings._warns_last():
            _warn_once(
                f"{OTEL_PYTHON_MEMORY_WARNING}={settings.warning} is above "
                f"{OTEL_PYTHON_MEMORY_CRITICAL}={settings.critical}: what is critical "
                "comes first"
            )
        return settings

    def _warns_last(self) -> bool:
        """Tell whether the warning is above what is critical, in the same unit."""
        warning, critical = self.thresholds().values()
        pairs = zip(warning or (), critical or (), strict=False)
        return any(low and high and low > high for low, high in pairs)

    def function_targets(self) -> tuple[FunctionTarget, ...]:
        """Split the configured functions into module and qualified name."""
        targets = map(_settings.function_target, self.functions)
        return tuple(target for target in targets if target)

    def thresholds(self) -> dict[str, Threshold | None]:
        """Read the thresholds of memory, by the kinds of their alerts."""
        return {
            semconv.ALERT_WARNING: _settings.parsed_threshold(self.warning),
            semconv.ALERT_CRITICAL: _settings.parsed_threshold(self.critical),
        }

    def span_filter(self) -> SpanFilter:
        """Compile which spans carry attributes."""
        return SpanFilter(
            [Glob(OTEL_PYTHON_MEMORY_INCLUDED_SPANS, g) for g in self.included_spans],
            [Glob(OTEL_PYTHON_MEMORY_EXCLUDED_SPANS, g) for g in self.excluded_spans],
            self.span_kinds,
        )


# All fields None: the declarative configuration passes every field that is not None
# as an argument, so defaults in there would beat the environment.
MemoryOptions = make_dataclass(
    "MemoryOptions",
    [(field.name, Any, None) for field in fields(MemoryConfig)],
    namespace={
        "__doc__": "What a configuration file may set; None means not set.",
        "__module__": __name__,
    },
    frozen=True,
    kw_only=True,
)


def _read_variable(
    environ: Mapping[str, str], setting: Setting, default: object
) -> Any:
    """Read one variable; when it is wrong, say so and fall back."""
    text = environ.get(setting.variable, "").strip()
    if not text:  # OpenTelemetry's rule: an empty variable is not set.
        return default
    try:
        return setting.read(text)
    except ValueError as error:
        kept = getattr(error, "kept", ())
        used = (
            ",".join(kept)
            or f"the default, {_settings.written(default, setting.empty)}"
        )
        _warn_once(f"{setting.variable}={text!r} {error}; using {used}")
        return kept or default


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        _logger.warning(message)


def sdk_is_disabled() -> bool:
    """Tell whether OpenTelemetry's own switch turns everything off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def receiver(environ: Mapping[str, str] | None = None) -> Receiver | None:
    """Read where `otel-memory run` listens; None when it did not start us."""
    environ = os.environ if environ is None else environ
    endpoint = environ.get(OTEL_PYTHON_MEMORY_RECEIVER, "").strip()
    token = environ.get(OTEL_PYTHON_MEMORY_RECEIVER_TOKEN, "").strip()
    return Receiver(endpoint, token) if endpoint else None


def runtime_directory(environ: Mapping[str, str] | None = None) -> str | None:
    """Read where a user's sockets belong on a desktop; None where nobody says."""
    environ = os.environ if environ is None else environ
    return environ.get("XDG_RUNTIME_DIR") or None
