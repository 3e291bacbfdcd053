"""The service in a process of its own, for the length of a block."""

from contextlib import contextmanager

from processes import ServiceProcess


@contextmanager
def running(**settings):
    """A process of the service with these settings, which is stopped at the end of the block."""
    process = ServiceProcess(**settings)
    try:
        yield process
    finally:
        process.stop()
