"""The command line: reads arguments and settings, sets up logging, and runs one command."""

import argparse
import contextlib
import importlib
import io
import logging
import os
import resource
import sys

import service
from service.commands import output
from service.serving.binding import StartError
from service.settings import SettingsError, environment, file_permissions, load
from service.telemetry import logs, multiprocess, tracing

EXIT_FAILURE = 1
EXIT_SETTINGS = 2

COMMANDS = {
    "serve": "serve; the same as no command",
    "healthcheck": "exit with 0 if the service with these settings is ready on this machine, else with 1",
    "openapi": "print the OpenAPI document as JSON",
    "rekey": "re-encrypt every secret in the store with the first of the encryption keys",
}

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit status, also if standard error cannot be written."""
    try:
        return _run(arguments)
    finally:
        try:
            if sys.stderr:
                sys.stderr.flush()
        except OSError:
            # Python flushes again at exit, and a failure there would change the exit status.
            output.discard(sys.stderr)


def _run(arguments: list[str] | None) -> int:
    # argparse ignores a help or version that cannot be written.
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            command = _parser().parse_args(arguments).command or "serve"
    except SystemExit as end:
        if end.code:
            raise
        return output.print_line(printed.getvalue().removesuffix("\n"))
    _disable_core_dumps()
    multiprocess.disable()
    try:
        if command == "healthcheck":
            # The service may have refused new contents of a file, and work well with the earlier ones.
            settings = environment.load_addresses(os.environ)
        else:
            settings = load(os.environ)
            logs.configure(level=settings.log_level, form=settings.log_format)
            _log_warnings()
        # Imported only now, so that a wrong setting is reported before half a second of imports.
        status: int = importlib.import_module(f"service.commands.{command}").run(settings)
    except SettingsError as error:
        output.print_problems(error.problems)
        return EXIT_SETTINGS
    except StartError as error:
        output.print_problems([str(error)])
        return EXIT_FAILURE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s3-signer", description="Serve presigned S3 URLs. Settings are environment variables SIGNER_*."
    )
    parser.add_argument("--version", action="version", version=service.__version__)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        commands.add_parser(name, help=help_text)
    return parser


def _disable_core_dumps() -> None:
    """Keep secrets out of core dumps; worker processes inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # If cores go to a program, Linux ignores a limit of 0 but not one of 1; a file of one byte holds no secret.
    limit = 1 if hard else 0
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _log_warnings() -> None:
    for variable in environment.unknown_variables(os.environ):
        logger.warning("%s is no setting of this version and does nothing", variable)
    if reason := tracing.problem(os.environ):
        logger.warning(reason)
    if not file_permissions.in_container(os.environ):
        secret, trusted = environment.secret_files(os.environ), environment.trusted_files(os.environ)
        for warning in file_permissions.warnings(secret, trusted):
            logger.warning(warning)


if __name__ == "__main__":
    sys.exit(main())
