# SPDX-License-Identifier: Apache-2.0
"""Lets tests import `deploy`, which is in no wheel, and starts one stack for all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The last one: where the package is installed, that is what is tested.
sys.path.append(str(Path(__file__).parents[2]))

from . import parts, pipeline
from .pipeline import Pipeline
from .rule_files import grafana_file, prometheus_file


@pytest.fixture(params=[prometheus_file, grafana_file], ids=["prometheus", "grafana"])
def rules(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The rules for Prometheus, and those for Grafana as Prometheus would have them."""
    return request.param(tmp_path)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """All servers; only where they are built."""
    with pipeline.running(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(scope="session")
def everything(stack: Pipeline) -> Iterator[None]:
    """One process that goes both ways."""
    with stack.process(
        "everything",
        parts.EVERYTHING,
        OTEL_METRICS_EXPORTER="otlp,prometheus",
        OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(stack.scraped_port),
    ) as process:
        process.find("(it knows everything)")
        yield


@pytest.fixture(scope="session")
def shop(stack: Pipeline) -> Iterator[None]:
    """A shop that has answered some requests, as Prometheus knows by now."""
    with stack.process("shop", parts.SHOP, "--serve") as process:
        parts.drive(parts.open_shop(process), 60, *pipeline.MIX)
        stack.until_counted(pipeline.SHOP_JOB, 60)
        yield
