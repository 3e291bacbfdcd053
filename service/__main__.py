"""The command line: ``python -m service`` serves, or does what its command says; settings are in the environment."""

import argparse
import logging
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import service
from service.serving import listening
from service.settings import secret_files, settings
from service.telemetry import logs

EXIT_SETTINGS = 2
EXIT_START = 1
EXIT_OUTPUT = 1

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status, also where standard error cannot be written."""
    try:
        return _run(arguments)
    finally:
        try:
            if sys.stderr:
                sys.stderr.flush()
        except OSError:
            # Python flushes once more at its end, and would exit with a status of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _run(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="s3-signer", description="Serve presigned S3 URLs. Settings are environment variables SIGNER_*."
    )
    parser.add_argument("--version", action="version", version=service.__version__)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    commands.add_parser("serve", help="serve; the same as no command")
    commands.add_parser("openapi", help="print the OpenAPI document as JSON")
    commands.add_parser("rekey", help="seal every secret in the store with the first of the encryption keys")
    with _output():
        command = parser.parse_args(arguments).command
    _leave_no_core()
    try:
        configured = settings.load(os.environ)
    except settings.SettingsError as error:
        return _fail(error.problems, EXIT_SETTINGS)
    logs.configure(level=configured.log_level, form=configured.log_format)
    for variable in settings.unknown(os.environ):
        logger.warning("%s is no setting of this version and does nothing", variable)
    if not secret_files.in_container(os.environ):
        for warning in secret_files.warnings(settings.secret_files(os.environ), settings.trusted_files(os.environ)):
            logger.warning(warning)
    try:
        return COMMANDS[command](configured)
    except settings.SettingsError as error:
        return _fail(error.problems, EXIT_SETTINGS)
    except listening.StartError as error:
        return _fail([str(error)], EXIT_START)


def _leave_no_core() -> None:
    """Have no secret written to a core dump; workers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # Linux heeds no limit where cores go to a program, but for a limit of 1; and in a file of one byte is no core.
    limit = 1 if hard else 0
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _rekey(configured: settings.Settings) -> int:
    from service.commands import rekey  # noqa: PLC0415 - who serves does not need it

    count = rekey.run(configured)
    printed = _print(f"sealed anew: {count.sealed}, left as they are: {count.failed}")
    return EXIT_START if count.failed else printed


def _serve(configured: settings.Settings) -> int:
    # A wrong setting is told at once: what serves takes half a second to import, and a supervisor never needs it.
    if configured.workers > 1:
        from service.serving import supervisor  # noqa: PLC0415

        supervisor.run(configured)
    else:
        from service.serving import server  # noqa: PLC0415

        server.run(configured)
    return 0


def _print_openapi(configured: settings.Settings) -> int:
    from service import app  # noqa: PLC0415
    from service.web.handlers import pages  # noqa: PLC0415

    return _print(pages.document(app.routes(configured), "json").decode())


def _print(text: str) -> int:
    if sys.stdout is None:
        return _fail(["Cannot write to standard output: it is closed"], EXIT_OUTPUT)
    with _output():
        sys.stdout.write(f"{text}\n")
    return 0


@contextmanager
def _output() -> Iterator[None]:
    """Write to standard output. A reader that goes away early, such as ``head``, ends the process without a word."""
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _fail([f"Cannot write to standard output: {error.strerror}"], EXIT_OUTPUT)
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OUTPUT)


def _fail(problems: list[str], status: int) -> int:
    # Standard error may be closed, or nobody may read it.
    with suppress(AttributeError, OSError):
        for problem in problems:
            sys.stderr.write(f"s3-signer: {problem}\n")
    return status


COMMANDS = {None: _serve, "serve": _serve, "openapi": _print_openapi, "rekey": _rekey}

if __name__ == "__main__":
    sys.exit(main())
