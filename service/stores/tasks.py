"""The end of background tasks."""

import asyncio
from collections.abc import Collection
from typing import Any

WAIT_SECONDS = 0.5


async def end(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Cancel the tasks, and wait until they have ended."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        # Before Python 3.12, asyncio.wait_for may lose a cancellation.
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=WAIT_SECONDS)
