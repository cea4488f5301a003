# SPDX-License-Identifier: Apache-2.0
"""Settings: arguments beat the environment, which beats the defaults."""

from __future__ import annotations

import ast
import dataclasses
import logging
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from otel_memory import _guard, _settings, config, semconv, span_filter
from otel_memory.config import SETTINGS, MemoryConfig, MemoryOptions
from otel_memory.units import MIB

PREFIX = "OTEL_PYTHON_MEMORY_"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Warn again in every test, and leave the guard's switch as it was."""
    reraises = _guard.reraises()
    config._warned.clear()
    yield
    _guard.set_reraise(reraises)


def read(**variables: str) -> MemoryConfig:
    return MemoryConfig.from_environment(
        {PREFIX + name: text for name, text in variables.items()}
    )


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert dataclasses.asdict(read()) == {
        "heap": "native",
        "sampling": True,
        "functions": (),
        "included_spans": (),
        "excluded_spans": (),
        "span_kinds": (),
        "max_span_names": 200,
        "limit_bytes": None,
        "interval_seconds": 10.0,
        "profile_interval_seconds": 0.0,
        "profile_signal": None,
        "profile_directory": None,
        "top_sites_threshold_bytes": 8 * MIB,
        "warning": "80%",
        "critical": "90%",
        "growth_warning_bytes_per_hour": None,
        "alert_handlers": (),
        "smaps": False,
        "top": False,
    }
    assert MemoryConfig() == read()


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("HEAP", "tracemalloc", "heap", "tracemalloc"),
        ("HEAP", " OFF ", "heap", "off"),
        ("SAMPLING", "false", "sampling", False),
        ("SAMPLING", "True", "sampling", True),
        ("FUNCTIONS", "a.b:c, d:E.f,,d:*,d:E.*", "functions", None),
        ("INCLUDED_SPANS", "GET *, check?ut", "included_spans", ("GET *", "check?ut")),
        ("EXCLUDED_SPANS", "health*", "excluded_spans", ("health*",)),
        ("SPAN_KINDS", "server, CONSUMER,server", "span_kinds", ("SERVER", "CONSUMER")),
        ("MAX_SPAN_NAMES", "0", "max_span_names", 0),
        ("MAX_SPAN_NAMES", "1500", "max_span_names", 1500),
        ("LIMIT", "512MiB", "limit_bytes", 512 * MIB),
        ("LIMIT", "8388608", "limit_bytes", 8388608),
        ("INTERVAL", "0.5", "interval_seconds", 0.5),
        ("PROFILE_INTERVAL", "60", "profile_interval_seconds", 60.0),
        ("PROFILE_INTERVAL", "0", "profile_interval_seconds", 0.0),
        ("PROFILE_SIGNAL", "SIGUSR2", "profile_signal", "SIGUSR2"),
        ("PROFILE_DIRECTORY", " /var/profiles ", "profile_directory", "/var/profiles"),
        ("TOP_SITES_THRESHOLD", "512KiB", "top_sites_threshold_bytes", 512 * 1024),
        ("TOP_SITES_THRESHOLD", "0", "top_sites_threshold_bytes", 0),
        ("WARNING", " 2GiB ", "warning", "2GiB"),
        ("WARNING", "Off", "warning", "off"),
        ("CRITICAL", "97.5 %", "critical", "97.5 %"),
        ("GROWTH_WARNING", "50MiB/h", "growth_warning_bytes_per_hour", 50.0 * MIB),
        ("ALERT_HANDLERS", "a:b, c.d:E.f", "alert_handlers", ("a:b", "c.d:E.f")),
        ("SMAPS", "true", "smaps", True),
        ("TOP", "true", "top", True),
    ],
)
def test_a_variable_sets_its_field(
    variable: str, text: str, field: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if value is None:
        value = ("a.b:c", "d:E.f", "d:*", "d:E.*")
    settings = dataclasses.asdict(read(**{variable: text}))
    assert settings.pop(field) == value
    defaults = dataclasses.asdict(MemoryConfig())
    del defaults[field]
    assert settings == defaults
    assert not caplog.records


WRONG = [
    ("HEAP", "fast", "heap"),
    ("HEAP", "lost", "heap"),
    ("SAMPLING", "yes", "sampling"),
    ("SAMPLING", "1", "sampling"),
    ("SPAN_KINDS", "SERVER,FRONTEND", "span_kinds"),
    ("MAX_SPAN_NAMES", "-1", "max_span_names"),
    ("MAX_SPAN_NAMES", "many", "max_span_names"),
    ("MAX_SPAN_NAMES", "1.5", "max_span_names"),
    ("LIMIT", "plenty", "limit_bytes"),
    ("LIMIT", "0", "limit_bytes"),
    ("LIMIT", "512", "limit_bytes"),
    ("LIMIT", "1048575", "limit_bytes"),
    ("LIMIT", "512KiB", "limit_bytes"),
    ("LIMIT", "-1MiB", "limit_bytes"),
    ("INTERVAL", "0", "interval_seconds"),
    ("INTERVAL", "-1", "interval_seconds"),
    ("INTERVAL", "nan", "interval_seconds"),
    ("INTERVAL", "inf", "interval_seconds"),
    ("INTERVAL", "1e300", "interval_seconds"),
    ("INTERVAL", "soon", "interval_seconds"),
    ("PROFILE_INTERVAL", "-0.1", "profile_interval_seconds"),
    ("PROFILE_SIGNAL", "SIGTERM", "profile_signal"),
    ("PROFILE_SIGNAL", "9", "profile_signal"),
    ("PROFILE_SIGNAL", "yes", "profile_signal"),
    ("TOP_SITES_THRESHOLD", "-1", "top_sites_threshold_bytes"),
    ("TOP_SITES_THRESHOLD", "8 parrots", "top_sites_threshold_bytes"),
    ("WARNING", "80", "warning"),
    ("WARNING", "512", "warning"),
    ("WARNING", "0%", "warning"),
    ("WARNING", "120%", "warning"),
    ("WARNING", "-1MiB", "warning"),
    ("WARNING", "much", "warning"),
    ("CRITICAL", "0", "critical"),
    ("CRITICAL", "90%/h", "critical"),
    ("GROWTH_WARNING", "50MiB", "growth_warning_bytes_per_hour"),
    ("GROWTH_WARNING", "0MiB/h", "growth_warning_bytes_per_hour"),
    ("GROWTH_WARNING", "5%", "growth_warning_bytes_per_hour"),
    ("ALERT_HANDLERS", "print", "alert_handlers"),
    ("ALERT_HANDLERS", "shop.ops:", "alert_handlers"),
    ("SMAPS", "often", "smaps"),
    ("TOP", "7", "top"),
]


@pytest.mark.parametrize(("variable", "text", "field"), WRONG)
def test_a_wrong_variable_is_warned_of_once_and_falls_back(
    variable: str, text: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(**{variable: text}) == MemoryConfig()
    assert read(**{variable: text}) == MemoryConfig()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("otel_memory", logging.WARNING)
    message = record.getMessage()
    assert f"{PREFIX}{variable}={text!r}" in message
    assert message.endswith(f"; using the default, {documented(variable)}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("variable", "field"), [("LIMIT", "limit_bytes"), ("WARNING", "warning")]
)
def test_a_size_below_a_mebibyte_is_said_to_be_bytes(
    variable: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who writes 512 means 512 MiB, and would be woken by 8,478,400 % of 512 B."""
    said = re.compile(
        r"at least 1MiB, such as .*[0-9][MG]iB; a number alone means bytes"
    )
    read(**{variable: "512"})
    assert said.search(caplog.records[0].getMessage())
    for value in (512, "512"):
        with pytest.raises(ValueError, match=said):
            MemoryConfig(**{field: value})  # type: ignore[arg-type]
    MemoryConfig(**{field: MIB})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"WARNING": "95%"}, ("95%", "90%")),
        ({"CRITICAL": "70%"}, ("80%", "70%")),
        ({"WARNING": "2GiB", "CRITICAL": "512MiB"}, ("2GiB", "512MiB")),
        ({"WARNING": "90%"}, None),
        ({"WARNING": "95%", "CRITICAL": "off"}, None),
        ({"WARNING": "2GiB", "CRITICAL": "50%"}, None),
    ],
)
def test_a_warning_above_critical_is_said_once_and_kept(
    variables: dict[str, str],
    shown: tuple[str, str] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        settings = read(**variables)
    assert settings.warning == variables.get("WARNING", "80%")
    assert settings.critical == variables.get("CRITICAL", "90%")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (shown is not None)
    if shown:
        assert messages[0].startswith(
            f"{PREFIX}WARNING={shown[0]} is above {PREFIX}CRITICAL={shown[1]}"
        )


@pytest.mark.parametrize(("_variable", "text", "field"), WRONG)
def test_the_same_as_an_argument_raises_and_names_the_argument(
    _variable: str, text: str, field: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field}='{text}' "):
        MemoryConfig(**{field: text})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{field}='{text}' "):
        MemoryConfig.from_environment({}, **{field: text})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heap", 1),
        ("sampling", 1),
        ("functions", 7),
        ("functions", ["no colon"]),
        ("included_spans", [7]),
        ("excluded_spans", {"a": 1}),
        ("max_span_names", True),
        ("max_span_names", 2.5),
        ("limit_bytes", 1.5),
        ("limit_bytes", True),
        ("limit_bytes", -1),
        ("interval_seconds", True),
        ("interval_seconds", None),
        ("interval_seconds", float("inf")),
        ("profile_directory", ""),
        ("profile_directory", "a\0b"),
        ("profile_directory", b"/var"),
        ("profile_directory", 7),
        ("top_sites_threshold_bytes", None),
        ("top_sites_threshold_bytes", True),
        ("top_sites_threshold_bytes", 1.5),
        ("warning", 0.8),
        ("warning", True),
        ("growth_warning_bytes_per_hour", True),
        ("growth_warning_bytes_per_hour", float("nan")),
        ("growth_warning_bytes_per_hour", -1.0),
        ("alert_handlers", 7),
        ("alert_handlers", [7]),
        ("alert_handlers", ["a:b", "no colon"]),
        ("alert_handlers", ["a:*"]),
    ],
)
def test_an_argument_of_a_wrong_type_raises_and_names_it(
    field: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{field}="):
        MemoryConfig(**{field: value})  # type: ignore[arg-type]


def test_every_setting_has_a_wrong_value_under_test() -> None:
    of_any_text = {"functions", "included_spans", "excluded_spans"}
    of_any_text.add("profile_directory")
    tested = {field for _, _, field in WRONG} | of_any_text
    assert tested == {setting.field for setting in SETTINGS}


def test_arguments_beat_the_environment_which_beats_the_defaults() -> None:
    environ = {PREFIX + "HEAP": "off", PREFIX + "INTERVAL": "3"}
    settings = MemoryConfig.from_environment(environ, heap="native")
    assert (settings.heap, settings.interval_seconds) == ("native", 3.0)
    assert settings.max_span_names == 200


def test_an_argument_makes_its_variable_irrelevant(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {PREFIX + "HEAP": "nonsense"}
    assert MemoryConfig.from_environment(environ, heap="off").heap == "off"
    assert not caplog.records


def test_none_as_an_argument_means_not_given() -> None:
    environ = {PREFIX + "LIMIT": "1MiB", PREFIX + "HEAP": "off"}
    settings = MemoryConfig.from_environment(environ, limit_bytes=None, heap=None)
    assert (settings.limit_bytes, settings.heap) == (MIB, "off")


def test_arguments_may_be_written_as_in_the_environment() -> None:
    settings = MemoryConfig.from_environment(
        {}, limit_bytes="512MiB", functions=["a:b"], span_kinds="server"
    )
    assert settings.limit_bytes == 512 * MIB
    assert settings.functions == ("a:b",)
    assert settings.span_kinds == ("SERVER",)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("limit", "unknown argument: limit; did you mean limit_bytes?"),
        ("interval", "unknown argument: interval; did you mean interval_seconds?"),
        ("heep", "unknown argument: heep; did you mean heap?"),
        (
            "growth_warning",
            "unknown argument: growth_warning; did you mean "
            "growth_warning_bytes_per_hour?",
        ),
        ("xyz", "unknown argument: xyz."),
        (
            "xyz limit heep",
            "unknown arguments: heep, limit, xyz; did you mean heap, limit_bytes?",
        ),
    ],
)
def test_an_unknown_argument_raises_and_the_right_ones_are_named(
    given: str, expected: str
) -> None:
    names = ", ".join(setting.field for setting in SETTINGS)
    with pytest.raises(ValueError, match=r"^unknown argument") as raised:
        MemoryConfig.from_environment({}, **dict.fromkeys(given.split()))
    assert str(raised.value) == f"{expected} Arguments: {names}"


def test_an_empty_variable_is_not_set(caplog: pytest.LogCaptureFixture) -> None:
    empty = {setting.variable: " " for setting in SETTINGS}
    assert MemoryConfig.from_environment(empty) == MemoryConfig()
    assert not caplog.records


def test_the_process_environment_is_read_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PREFIX + "MAX_SPAN_NAMES", "17")
    assert MemoryConfig.from_environment().max_span_names == 17


def test_malformed_functions_are_named_and_the_others_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = read(
        FUNCTIONS="shop.cache:get, nocolon, a-b:c, :x, y:, z:*a, shop.jobs:*"
    )
    assert settings.functions == ("shop.cache:get", "shop.jobs:*")
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(PREFIX + "FUNCTIONS=")
    for entry in ("nocolon", "a-b:c", ":x", "y:", "z:*a"):
        assert repr(entry) in message
    assert message.endswith("; using shop.cache:get,shop.jobs:*")


def test_functions_are_split_into_module_and_qualified_name() -> None:
    settings = MemoryConfig(functions=("shop.cache:Cache.get", "jobs : *", "m:C.*"))
    assert settings.function_targets() == (
        ("shop.cache", "Cache.get"),
        ("jobs", "*"),
        ("m", "C.*"),
    )


@pytest.mark.parametrize("entry", ["a:b:c", "a..b:c", "a:b..c", "a:*.b", "a b:c", ":"])
def test_malformed_functions_as_an_argument_raise(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^functions="):
        MemoryConfig(functions=(entry,))


RT_FIRST, RT_LAST = int(signal.SIGRTMIN), int(signal.SIGRTMAX)


@pytest.mark.parametrize(
    ("value", "name", "number"),
    [
        ("SIGUSR1", "SIGUSR1", signal.SIGUSR1),
        ("usr2", "SIGUSR2", signal.SIGUSR2),
        (" SigUsr2 ", "SIGUSR2", signal.SIGUSR2),
        (str(int(signal.SIGUSR2)), "SIGUSR2", signal.SIGUSR2),
        (int(signal.SIGUSR2), "SIGUSR2", signal.SIGUSR2),
        (signal.SIGUSR2, "SIGUSR2", signal.SIGUSR2),
        ("SIGRTMIN", "SIGRTMIN", RT_FIRST),
        ("RTMIN+0", "SIGRTMIN", RT_FIRST),
        (signal.SIGRTMIN, "SIGRTMIN", RT_FIRST),
        ("SIGRTMIN+3", "SIGRTMIN+3", RT_FIRST + 3),
        (RT_FIRST + 3, "SIGRTMIN+3", RT_FIRST + 3),
        ("rtmax-2", "SIGRTMAX-2", RT_LAST - 2),
        (f"SIGRTMIN+{RT_LAST - RT_FIRST - 2}", "SIGRTMAX-2", RT_LAST - 2),
        ("SIGRTMAX", "SIGRTMAX", RT_LAST),
    ],
    ids=repr,
)
def test_a_signal_has_one_name_and_its_number(
    value: object, name: str, number: int
) -> None:
    config_ = MemoryConfig(profile_signal=value)  # type: ignore[arg-type]
    assert config_.profile_signal == name
    assert _settings.SIGNALS[name] == number


HARMFUL = sorted(
    {each.name for each in signal.Signals}
    - {"SIGUSR1", "SIGUSR2", "SIGRTMIN", "SIGRTMAX"}
)


@pytest.mark.parametrize(
    "value",
    [
        *HARMFUL,
        *(signal.Signals[name] for name in HARMFUL),
        *(0, -1, RT_FIRST - 1, RT_LAST + 1, True, 12.0, "", "SIG", "SIGSIGUSR1"),
        *("RTMIN-1", "RTMAX+1", f"RTMIN+{RT_LAST - RT_FIRST + 1}", "²"),
    ],
    ids=repr,
)
def test_other_signals_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^profile_signal=.* is not SIGUSR1, "):
        MemoryConfig(profile_signal=value)  # type: ignore[arg-type]


def test_thresholds_are_shares_or_sizes_or_none() -> None:
    settings = MemoryConfig(warning="2GiB", critical="off")
    assert settings.thresholds() == {"warning": (None, 2048 * MIB), "critical": None}
    assert MemoryConfig().thresholds() == {
        "warning": (0.8, None),
        "critical": (0.9, None),
    }


def test_handlers_may_be_functions_and_malformed_names_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert MemoryConfig(alert_handlers=[print, "a:b"]).alert_handlers == (print, "a:b")
    assert MemoryConfig(alert_handlers=print).alert_handlers == (print,)  # type: ignore[arg-type]
    assert read(ALERT_HANDLERS="a:b, no colon").alert_handlers == ("a:b",)
    (record,) = caplog.records
    assert "'no colon'" in record.getMessage()


def test_growth_may_be_a_number_of_bytes_per_hour() -> None:
    settings = MemoryConfig(growth_warning_bytes_per_hour=MIB)
    assert settings.growth_warning_bytes_per_hour == MIB


def test_a_directory_may_be_a_path_and_need_not_exist(tmp_path: Path) -> None:
    settings = MemoryConfig(profile_directory=tmp_path / "no")  # type: ignore[arg-type]
    assert settings.profile_directory == str(tmp_path / "no")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MemoryConfig().heap = "off"  # type: ignore[misc]
    with pytest.raises(TypeError):
        MemoryConfig("off")  # type: ignore[call-arg]


def test_every_field_has_one_row_and_one_variable() -> None:
    names = [field.name for field in dataclasses.fields(MemoryConfig)]
    assert [setting.field for setting in SETTINGS] == names
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


def test_what_a_configuration_file_leaves_out_stays_with_the_environment() -> None:
    """The declarative configuration passes on every field that is not None."""
    options = MemoryOptions(heap="off")
    passed = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if getattr(options, field.name) is not None
    }
    settings = MemoryConfig.from_environment({PREFIX + "INTERVAL": "3"}, **passed)
    assert (settings.heap, settings.interval_seconds) == ("off", 3.0)
    with pytest.raises(TypeError):
        MemoryOptions(heep="off")


def documented_defaults() -> dict[str, str]:
    """Collect the docstrings that follow the names of variables."""
    body = ast.parse(Path(config.__file__).read_text(encoding="utf-8")).body
    found = {}
    for constant, following in pairwise(body):
        if isinstance(constant, ast.Assign) and isinstance(following, ast.Expr):
            name = ast.unparse(constant.targets[0])
            found[name] = ast.literal_eval(following.value)
    return found


def documented(variable: str) -> str:
    """Give a variable's default as its docstring has it."""
    return documented_defaults()[PREFIX + variable].rpartition(": ")[2].rstrip(".")


def test_every_variable_is_its_own_name_and_documents_its_default() -> None:
    names = [name for name in vars(config) if name.startswith("OTEL_")]
    assert {getattr(config, name) for name in names} == set(names)
    documented = documented_defaults()
    assert sorted(documented) == sorted(names)
    shown = {(): ("none", "all"), None: ("none",), True: ("true",)}
    shown[8 * MIB] = ("8MiB",)
    shown |= {"80%": ("80%",), "90%": ("90%",)}
    for setting in SETTINGS:
        default = getattr(MemoryConfig(), setting.field)
        choices = shown.get(default) or (f"{default:g}",) if default != "native" else ()
        if default is False:  # equal to 0, as a key of a dictionary
            choices = ("false",)
        said = documented[setting.variable].rpartition("Default: ")[2].rstrip(".")
        assert said in (choices or ("native",)), setting.variable
    assert all("Default: " in text for text in documented.values())


@pytest.mark.parametrize(("text", "reraises"), [("true", True), ("false", False)])
def test_the_environment_decides_whether_the_guard_raises(
    text: str, reraises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _guard.set_reraise(not reraises)
    monkeypatch.setenv(PREFIX + "RAISE", text)
    MemoryConfig.from_environment()
    assert _guard.reraises() is reraises


@pytest.mark.parametrize("text", [None, "", "perhaps"])
def test_without_a_right_value_the_guard_stays_as_it_is(
    text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _guard.set_reraise(True)
    monkeypatch.delenv(PREFIX + "RAISE", raising=False)
    if text is not None:
        monkeypatch.setenv(PREFIX + "RAISE", text)
    MemoryConfig.from_environment()
    assert _guard.reraises()


def test_the_receiver_is_where_run_says() -> None:
    endpoint = {PREFIX + "RECEIVER": "http://127.0.0.1:4711"}
    token = {PREFIX + "RECEIVER_TOKEN": "secret"}
    assert config.receiver({**endpoint, **token}) == ("http://127.0.0.1:4711", "secret")
    assert config.receiver(endpoint) == ("http://127.0.0.1:4711", "")
    assert config.receiver(token) is None
    assert config.receiver({}) is None


@pytest.mark.parametrize(
    ("settings", "name", "kind", "matches"),
    [
        ({}, "anything", "INTERNAL", True),
        ({"included_spans": "GET *"}, "GET /a/{id}", "SERVER", True),
        ({"included_spans": "GET *"}, "get /a", "SERVER", False),
        ({"included_spans": "GET *,job"}, "job", "INTERNAL", True),
        ({"included_spans": "job"}, "jobs", "INTERNAL", False),
        ({"excluded_spans": "*/health"}, "GET /health", "SERVER", False),
        ({"excluded_spans": "*/health"}, "GET /healthy", "SERVER", True),
        ({"included_spans": "GET *", "excluded_spans": "*x"}, "GET x", "SERVER", False),
        ({"span_kinds": "SERVER"}, "a", "SERVER", True),
        ({"span_kinds": "SERVER"}, "a", "CLIENT", False),
        ({"included_spans": "b", "span_kinds": "SERVER"}, "a", "SERVER", False),
        ({"included_spans": "a*"}, "a\nb", "SERVER", True),
    ],
)
def test_the_filter_judges_by_name_and_kind(
    settings: dict[str, Any], name: str, kind: str, matches: bool
) -> None:
    spans = MemoryConfig(**settings).span_filter()
    assert [spans.matches(name, kind) for _ in range(2)] == [matches] * 2


def test_globs_that_match_nothing_are_reported_with_their_variable() -> None:
    spans = MemoryConfig(
        included_spans=["GET *", "chekout"],
        excluded_spans=["health*", "GET /a"],
        span_kinds=["SERVER"],
    ).span_filter()
    assert len(spans.unmatched()) == 4
    spans.matches("GET /a", "CLIENT")
    spans.matches("anything else", "SERVER")
    assert spans.unmatched() == [
        "OTEL_PYTHON_MEMORY_INCLUDED_SPANS=chekout",
        "OTEL_PYTHON_MEMORY_EXCLUDED_SPANS=health*",
    ]


def test_names_that_explode_do_not_fill_the_filters_memory() -> None:
    spans = MemoryConfig(included_spans=["/item/*7"]).span_filter()
    for number in range(5000):
        answer = spans.matches(f"/item/{number}", "SERVER")
        assert answer is str(number).endswith("7")
    assert len(spans._answers) <= span_filter._CACHE_SIZE


def test_known_kinds_are_those_of_the_convention() -> None:
    spans = MemoryConfig().span_filter()
    assert all(spans.matches("a", kind) for kind in semconv.SPAN_KINDS)
