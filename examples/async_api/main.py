# SPDX-License-Identifier: Apache-2.0
"""Run the API: under a driver's requests, or with --serve until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import uvicorn

sys.path.append(str(Path(__file__).resolve().parents[1]))
import drive  # one driver for both examples, next to their folders
from api import create_app

MIX = (
    "20 /quote",
    "20 /thumbnail/{1-1000}",
    "10 /export",
    "25 /session/{1-1000}",
    "25 /notify/{1-1000}",
)


async def serve_driver(server: uvicorn.Server, options: argparse.Namespace) -> int:
    """Serve until the driver has sent all its requests; return its exit status."""
    with server.config.bind_socket() as listening:
        listening.listen()  # the driver's first requests may come before uvicorn
        port = listening.getsockname()[1]
        command = drive.command(options, port, MIX)
        driver = await asyncio.create_subprocess_exec(*command)
        try:
            serving = asyncio.create_task(server.serve([listening]))
            status = await driver.wait()
            server.should_exit = True
            await serving
        finally:
            if driver.returncode is None:
                driver.terminate()
                await driver.wait()
    return status


def main() -> int:
    """Start the API on this machine's loopback interface."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="no driver: by hand")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--leak", action="store_true", help="/notify forgets nothing")
    drive.add_arguments(parser)
    options = parser.parse_args()

    config = uvicorn.Config(
        create_app(leak=options.leak),
        host=drive.HOST,
        port=options.port,
        access_log=False,
        log_level="info" if options.serve else "warning",
    )
    server = uvicorn.Server(config)
    # uvicorn shuts down and then raises the signal again: end as after Ctrl-C then,
    # so that what runs at exit (OpenTelemetry's last export) still does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.serve:
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        return 0
    return asyncio.run(serve_driver(server, options))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
