# SPDX-License-Identifier: Apache-2.0
"""An application as users write it; prints one line of JSON that begins with APP.

It knows nothing of otel-memory, and looks for traces of it at the end.
"""

from __future__ import annotations

import json
import logging
import sys
import threading

from opentelemetry import trace

KEPT = []
MIB = 1024 * 1024
tracer = trace.get_tracer("app")


def keeps():
    with tracer.start_as_current_span("keeps"):
        KEPT.append(bytes(5 * MIB))  # a sample stands for half a MiB: hardly missed


def web():
    """Serve requests with Flask and FastAPI, in threads and on a loop."""
    import asyncio

    import fastapi
    import flask
    import httpx

    site = flask.Flask("site")

    @site.route("/basket/<item>")
    def basket(item):
        keeps()
        logging.getLogger("site").warning("basket %s", item)
        return item

    api = fastapi.FastAPI()

    @api.get("/items/{item}")
    async def items(item: int):
        await asyncio.to_thread(keeps)
        return item

    async def ask():
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as c:
            answers = await asyncio.gather(*(c.get(f"/items/{i}") for i in range(5)))
        assert all(answer.status_code == 200 for answer in answers)

    assert site.test_client().get("/basket/7").status_code == 200
    asyncio.run(ask())


def traces_of_us():
    from opentelemetry.sdk.trace import Span

    return {
        "modules": sorted(name for name in sys.modules if "otel_memory" in name),
        "wrapped": type(vars(Span)["end"]).__name__ != "function",
        "threads": [t.name for t in threading.enumerate() if "memory" in t.name],
    }


def main():
    for _ in range(3):
        keeps()
    thread = threading.Thread(target=keeps)
    thread.start()
    thread.join()
    if "web" in sys.argv:
        web()
    found = traces_of_us()
    if "figures" in sys.argv:
        from otel_memory import track_memory

        with track_memory("tracked") as figures:
            KEPT.append(bytes(2 * MIB))
        found["delta"] = figures.delta_bytes
    print("APP " + json.dumps(found), flush=True)
    if "fails" in sys.argv:
        raise SystemExit(7)


if __name__ == "__main__":
    main()
