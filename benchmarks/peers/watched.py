"""The service, which writes down how long its event loop was held: a line for each hold of a millisecond or more.

Argument: the file. A line has the instant at the end of the hold, the CPU time of the loop's thread, and the time.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from service import app as application
from service.__main__ import main

BEAT_SECONDS = 0.001


def watch(path: Path) -> None:
    create = application.create_app

    async def watched(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_beat(path))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def create_watched(*arguments: Any, **options: Any) -> web.Application:
        app = create(*arguments, **options)
        app.cleanup_ctx.append(watched)
        return app

    # Before the server imports it.
    application.create_app = create_watched


async def _beat(path: Path) -> None:
    """Other work between two beats is one turn of the loop, or several short ones within a beat."""
    with path.open("a", encoding="ascii", buffering=1) as file:
        cpu, now = time.thread_time(), time.monotonic()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            cpu_before, before, cpu, now = cpu, now, time.thread_time(), time.monotonic()
            if now - before > 2 * BEAT_SECONDS:
                file.write(f"{now} {cpu - cpu_before} {now - before - BEAT_SECONDS}\n")


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    sys.exit(main())
