# SPDX-License-Identifier: Apache-2.0
"""Run the shop: under a driver's requests, or with --serve until it is stopped."""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from werkzeug.serving import ThreadedWSGIServer

sys.path.append(str(Path(__file__).resolve().parents[1]))
import drive  # one driver for both examples, next to their folders
from shop import db
from shop.app import create_app

MIX = (
    "62 /recommend?session={1-4000000000}",
    "2 /recommend?session=health-check",
    "16 /products/{1-5000}",
    "8 /",
    "3 /search?q=brass",
    "3 /search?q=linen",
    "6 /reports/sales",
)


class Server(ThreadedWSGIServer):
    """A thread for each request; closing waits for the requests under way."""

    daemon_threads = False


def serve(server: Server) -> int:
    """Serve until an interrupt or SIGTERM."""
    print(f"The shop is open at http://{server.host}:{server.port}/", flush=True)
    server.serve_forever()  # returns on KeyboardInterrupt, and closes
    return 0


def serve_driver(server: Server, options: argparse.Namespace) -> int:
    """Serve until the driver has sent all its requests; return its exit status."""
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    driver = subprocess.Popen(drive.command(options, server.port, MIX))
    try:
        return driver.wait()
    finally:
        driver.terminate()
        driver.wait()
        server.shutdown()
        serving.join()


def main() -> int:
    """Seed a database in a temporary folder and open the shop on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="no driver: by hand")
    parser.add_argument(
        "--host", default=drive.HOST, help="with --serve: 0.0.0.0 for everybody"
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    drive.add_arguments(parser)
    options = parser.parse_args()

    # End on SIGTERM as on Ctrl-C, so that what runs at exit still does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line per request
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        database = Path(folder, "shop.sqlite3")
        db.seed(database, options.seed)
        host = options.host if options.serve else drive.HOST
        server = Server(host, options.port, create_app(database))
        return serve(server) if options.serve else serve_driver(server, options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
