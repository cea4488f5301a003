# SPDX-License-Identifier: Apache-2.0
"""FastAPI with its own instrumentation: what a route keeps stands under the route."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import threading

import httpx
import uvicorn
from _tools import (
    ALLOCATED,
    DELTA,
    MIB,
    PEAK,
    core_rows,
    metric_points,
    rows,
    run_case,
    start,
    telemetry,
)
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider

KEPT: list[bytes] = []
REQUESTS = 40


def _app():
    app = FastAPI()

    @app.get("/keeps/{item}")
    async def keeps(item: int):
        KEPT.append(bytes(300_000))
        await asyncio.sleep(0)
        return {"item": item}

    @app.get("/gives/{item}")
    async def gives(item: int):
        block = bytes(3_000_000)
        await asyncio.sleep(0)
        return {"item": item, "size": len(block)}

    @app.get("/in-a-thread/{item}")
    def in_a_thread(item: int):
        KEPT.append(bytes(100_000))
        return {"item": item}

    FastAPIInstrumentor.instrument_app(app, meter_provider=NoOpMeterProvider())
    return app


async def _ask(client):
    async def ask(path):
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text

    for i in range(REQUESTS):
        await asyncio.gather(
            ask(f"/keeps/{i}"), ask(f"/gives/{i}"), ask(f"/in-a-thread/{i}")
        )


def _median(name, attribute):
    spans = [s for s in telemetry.exporter.get_finished_spans() if s.name == name]
    assert len(spans) == REQUESTS, (name, len(spans))
    return statistics.median(span.attributes[attribute] for span in spans)


def _check():
    held: dict[str, int] = {}
    for row in rows():
        held[row.entry] = held.get(row.entry, 0) + row.live
    ranking = sorted(held, key=held.__getitem__, reverse=True)
    assert ranking[0] == "GET /keeps/{item}", held
    assert ranking[1] == "GET /in-a-thread/{item}", held
    assert set(ranking) == {
        "GET /keeps/{item}",
        "GET /gives/{item}",
        "GET /in-a-thread/{item}",
    }
    counts = {
        (row.name, row.entry): row.count for row in rows() if row.name == row.entry
    }
    assert counts == {(name, name): REQUESTS for name in ranking}, counts
    assert abs(held["GET /keeps/{item}"] - REQUESTS * 300_000) < 2 * MIB, held
    assert abs(held["GET /in-a-thread/{item}"] - REQUESTS * 100_000) < 1.5 * MIB, held
    assert held["GET /gives/{item}"] < 1.5 * MIB, held
    by_metric: dict[str, int] = {}
    for value, attributes in metric_points()["otel_memory.span.heap.live"]:
        entry = attributes["otel_memory.entry"]
        if attributes["otel_memory.sort"] == "span":
            by_metric[entry] = by_metric.get(entry, 0) + value
    assert max(by_metric, key=by_metric.__getitem__) == "GET /keeps/{item}", by_metric
    # The first request of all imports lazily.
    assert 300_000 < _median("GET /keeps/{item}", ALLOCATED) < 500_000
    assert 3_000_000 < _median("GET /gives/{item}", PEAK) < 3_200_000
    assert -100_000 < _median("GET /gives/{item}", DELTA) < 100_000
    assert not [r for r in core_rows() if r.name == "GET"], core_rows()


def _finer():
    from otel_memory.heap import _core

    _core.set_sampling(True, rate_bytes=16384, seed=3)


def case_asgi_transport_shows_routes_as_entries():
    start()
    _finer()
    app = _app()

    async def main():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as c:
            await _ask(c)

    asyncio.run(main())
    _check()


def case_uvicorn_shows_routes_as_entries():
    start()
    _finer()
    app = _app()
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(30)
        port = listener.getsockname()[1]

        async def main():
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
                await _ask(client)

        asyncio.run(main())
    finally:
        server.should_exit = True
        thread.join(30)
        with contextlib.suppress(OSError):
            listener.close()
    _check()


if __name__ == "__main__":
    run_case()
