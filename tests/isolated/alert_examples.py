# SPDX-License-Identifier: Apache-2.0
"""The examples under traffic for hours: the shop's leak is told, nothing else is."""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import threading
from pathlib import Path

from _hours import EXAMPLES, LEAK_SUSPECTED, Hours, get
from _tools import run_case, say

WARM_UP_REQUESTS = 150


def case_the_shop_leaks():
    sys.path.insert(0, str(EXAMPLES / "shop"))
    hours = Hours()
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    FlaskInstrumentor().instrument()
    from shop import cache, db
    from shop.app import create_app
    from werkzeug.serving import ThreadedWSGIServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "shop.sqlite3")
        db.seed(database, 1)
        server = ThreadedWSGIServer("127.0.0.1", 0, create_app(database))
        serving = threading.Thread(target=server.serve_forever)
        serving.start()

        def page():
            get(server.port, f"/products/{draw.randint(1, 5000)}")

        try:
            for _ in range(WARM_UP_REQUESTS):
                page()
            while not hours.events() and hours.hours < 4:
                if hours.seconds % 300 == 0:
                    for _ in range(6):
                        get(server.port, f"/recommend?session={draw.random()}")
                    get(server.port, "/recommend?session=health-check")
                    get(server.port, "/")
                    get(server.port, "/search?q=brass")
                    page()
                hours.pass_minute()
        finally:
            server.shutdown()
            serving.join()
            server.server_close()

    lines = Path(cache.__file__).read_text(encoding="utf-8").splitlines()
    (line,) = (n for n, text in enumerate(lines, 1) if "# the leak" in text)
    say(hours.hours, hours.findings.assessment)
    ((name, attributes),) = hours.events()
    say(attributes)
    assert name == LEAK_SUSPECTED
    assert attributes["otel_memory.alert.kind"] == "leak"
    assert attributes["otel_memory.alert.leak.state"] == "leaking"
    assert isinstance(attributes["otel_memory.alert.growth"], int)
    first = attributes["otel_memory.alert.suspects"][0]
    assert first.startswith("get_product_list (GET /recommend) +"), first
    site = attributes["otel_memory.alert.top_sites"][0]
    place, function, *_ = site.split()
    assert place.endswith(f"shop/cache.py:{line}"), (site, line)
    assert function == "get_product_list"
    assert hours.findings.alerts["leak"] == 1


def case_the_async_api_does_not():
    sys.path.insert(0, str(EXAMPLES / "async_api"))
    hours = Hours(growth_warning_bytes_per_hour="1MiB/h")
    import uvicorn
    from api import create_app
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    app = create_app()
    FastAPIInstrumentor.instrument_app(app)
    config = uvicorn.Config(app, host="127.0.0.1", log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    draw = random.Random(1)
    with config.bind_socket() as listening:
        listening.listen()
        port = listening.getsockname()[1]
        serving = threading.Thread(target=server.run, args=([listening],))
        serving.start()

        def session():
            get(port, f"/session/{draw.randint(1, 1000)}")

        def notify():
            get(port, f"/notify/{draw.randint(1, 1000)}")

        try:
            for _ in range(WARM_UP_REQUESTS):
                session()
                notify()
            while hours.hours < 4:
                if hours.seconds % 300 == 0:
                    get(port, f"/thumbnail/{draw.randint(1, 1000)}")
                    get(port, "/export")
                    for _ in range(3):
                        session()
                        notify()
                if hours.seconds % 3600 == 0:
                    get(port, "/quote")
                hours.pass_minute()
        finally:
            server.should_exit = True
            serving.join()
    say(hours.findings.assessment)
    assert hours.events() == []
    assert hours.findings.assessment.state == "steady"
    assert not any(hours.findings.alerts.values())


if __name__ == "__main__":
    run_case()
