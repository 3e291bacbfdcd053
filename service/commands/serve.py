"""``python -m service serve``: serve requests, in this process or in several workers."""

from service.settings import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises ``StartError`` if the service cannot."""
    # The supervisor never imports the server: each of its workers does.
    if settings.workers > 1:
        from service.serving import supervisor  # noqa: PLC0415

        supervisor.run(settings)
    else:
        from service.serving import server  # noqa: PLC0415

        server.run(settings)
    return 0
