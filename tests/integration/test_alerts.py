# SPDX-License-Identifier: Apache-2.0
"""Alerts of real processes: hours of the examples, forks, ends, handlers.

Runs the scripts `isolated/alert_*.py`, each case in a process of its own.
"""

from __future__ import annotations

import pytest

from .isolated_support import ISOLATED, UNTRACED, cases, output, run, run_case

# The address sanitizer does not survive a fork in the middle of another thread's
# malloc, and its allocator gives nothing back.
pytestmark = [pytest.mark.extension, pytest.mark.exact]

FROM_ENVIRONMENT = {
    "the_environment_names_the_handlers_and_thresholds": {
        "OTEL_PYTHON_MEMORY_INTERVAL": "0.02",
        "OTEL_PYTHON_MEMORY_WARNING": "2MiB",
        "OTEL_PYTHON_MEMORY_CRITICAL": "off",
        "OTEL_PYTHON_MEMORY_ALERT_HANDLERS": "alert_process:on_alert",
    },
    "a_disabled_sdk_has_no_alerts": {"OTEL_SDK_DISABLED": "true"},
}


@pytest.mark.parametrize(
    ("script", "case"), cases("alert_examples.py", "alert_locals.py")
)
def test_hours_of_a_process(script, case, clock_ahead):
    variables = {
        "LD_PRELOAD": str(clock_ahead),
        "OTEL_PYTHON_MEMORY_INTERVAL": "3600",
        **UNTRACED,
    }
    done = run(ISOLATED / script, case, clock_ahead, **variables)
    assert done.returncode == 0, output(done)


@pytest.mark.parametrize(("script", "case"), cases("alert_process.py"))
def test_a_process_and_its_alerts(script, case):
    variables = FROM_ENVIRONMENT.get(case.removeprefix("case_"), {})
    run_case(script, case, **variables)
