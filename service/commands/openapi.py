"""``s3-signer openapi``: print the OpenAPI document."""

import argparse

from service import app
from service.commands import output
from service.settings import Settings
from service.web.handlers import pages


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the document for these settings, and return the exit status."""
    document = pages.document(app.routes(settings), arguments.format, server=settings.public_url or "/")
    return output.print_line(document.decode().removesuffix("\n"))
