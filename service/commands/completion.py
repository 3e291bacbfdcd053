"""``s3-signer completion``: print a completion script for a shell."""

import argparse

import shtab

from service.commands import arguments as command_line
from service.commands import output
from service.settings import Settings


def run(_: Settings, arguments: argparse.Namespace) -> int:
    """Print the script, and return the exit status."""
    return output.print_line(shtab.complete(command_line.parser(), shell=arguments.shell))
