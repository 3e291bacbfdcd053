"""The command line: reads arguments and settings, sets up logging, and runs one command."""

import contextlib
import importlib
import io
import logging
import os
import resource
import sys

from service.commands import arguments as command_line
from service.commands import output
from service.commands.environment_warnings import environment_warnings
from service.errors import ServiceError
from service.serving.binding import StartError
from service.settings import SettingsError, environment, load
from service.telemetry import logs, multiprocess

_STDERR = 2
EXIT_FAILURE = 1
EXIT_SETTINGS = 2
# As a shell reports a command that SIGINT has ended.
EXIT_INTERRUPTED = 130

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit status, also if standard error cannot be written."""
    _fill_standard_streams()
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
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
            parsed = command_line.parse(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:
        if end.code:
            raise
        return output.print_line(printed.getvalue().removesuffix("\n"))
    command = parsed.command or "serve"
    _disable_core_dumps()
    multiprocess.disable()
    try:
        if command in {"healthcheck", "completion"}:
            # The service may have refused new contents of a file, and work well with the earlier ones.
            settings = environment.load_addresses(os.environ)
        else:
            settings = load(os.environ)
            logs.configure(level=settings.log_level, form=settings.log_format)
            if command != "check":
                for warning in environment_warnings(os.environ):
                    logger.warning(warning)
        # Imported only now, so that a wrong setting is reported before half a second of imports.
        status: int = importlib.import_module(f"service.commands.{command}").run(settings, parsed)
    except SettingsError as error:
        output.print_problems(error.problems)
        return EXIT_SETTINGS
    except StartError as error:
        output.print_problems([str(error)])
        return EXIT_FAILURE
    except ServiceError as error:
        output.print_problems([issue.diagnostics for issue in error.issues])
        return EXIT_FAILURE
    return status


def _fill_standard_streams() -> None:
    """Give the numbers of standard streams that are closed to the null device; Python's streams stay None.

    libuv aborts the process when it closes a connection with such a number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        # Worker processes inherit it.
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no names
    os.close(descriptor)


def _disable_core_dumps() -> None:
    """Keep secrets out of core dumps; worker processes inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # If cores go to a program, Linux ignores a limit of 0 but not one of 1; a file of one byte holds no secret.
    limit = 1 if hard else 0
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
