"""The arguments of the command line. Imports no command, so that help is fast."""

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence

import service
from service.settings import settings

METHODS = ("GET", "HEAD", "PUT", "DELETE")
SHELLS = ("bash", "zsh", "tcsh")

EXIT_STATUSES = {
    0: "done; with verify and check: nothing is wrong",
    1: "failed, for example: no such account, an invalid body, or a store that is not available",
    2: "wrong settings or arguments; nothing was done",
    3: "with verify and check: done, and something is wrong",
}

_INTRODUCTION = """\
Keeps S3 accounts and hands out presigned URLs. Without a command, it serves.

Settings are environment variables SIGNER_*; "s3-signer serve --help" lists them. Commands that read accounts need the
settings of the service, so run them beside it or in its container. A user who can do this is the operator: no
access policy applies. Changes and signed URLs are audited all the same, on standard error.
"""
_EXAMPLES = """\
examples:
  s3-signer                                           serve on 127.0.0.1:8080
  s3-signer account put my-account account.yaml       store an account
  s3-signer sign GET my-account my-bucket a/key.txt   print a URL
  s3-signer verify - < url.txt                        say why a server refuses a URL
  s3-signer check --live my-bucket                    check settings, store and accounts"""

_Add = Callable[..., argparse.ArgumentParser]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed arguments, or exit with a message. ``command`` is None for serving."""
    root = parser()
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        root.error("arguments must be UTF-8")
    return root.parse_args(arguments)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = _Parser(prog="s3-signer", description=_INTRODUCTION, epilog=f"{_EXAMPLES}\n\n{_exit_statuses()}")
    # -V makes this wider than the names of commands. Else argparse before Python 3.13 gives these two lines each.
    root.add_argument("-V", "--version", action="version", version=service.__version__)
    add = root.add_subparsers(dest="command", title="commands", metavar="COMMAND", parser_class=_Parser).add_parser
    add(
        "serve",
        help="serve; the same as no command",
        description="Serves until SIGTERM, SIGHUP or SIGINT, in one process or in SIGNER_WORKERS processes.",
        epilog=_settings(),
    )
    _add_sign(add)
    _add_verify(add)
    _add_check(add)
    _add_account(add)
    add(
        "healthcheck",
        help="exit with 0 if the service with these settings is ready on this machine, else with 1",
        description="Asks /ready of the service with these settings on this machine, for at most three seconds.",
    )
    openapi = add(
        "openapi",
        help="print the OpenAPI document",
        description="Prints the OpenAPI document of a service with these settings, without serving.",
    )
    _add_format(openapi, default="json")
    rekey = add(
        "rekey",
        help="re-encrypt every secret in the store with the first of the encryption keys",
        description="Re-encrypts every secret in the store with the first key of SIGNER_ENCRYPTION_KEYS_FILE, while"
        " the service runs. Prints how many secrets were re-encrypted and how many failed.",
    )
    _add_format(rekey)
    completion = add(
        "completion",
        help="print a completion script for a shell",
        description="Prints a script with which the shell completes commands and options.",
        epilog="example:\n  s3-signer completion bash > ~/.local/share/bash-completion/completions/s3-signer",
    )
    completion.add_argument("shell", choices=SHELLS)
    return root


def _add_sign(add: _Add) -> None:
    command = add(
        "sign",
        help="print a presigned URL",
        description="Prints a presigned URL for a stored account, as the service makes it, with its limits and its"
        " audit line.",
        epilog="examples:\n"
        "  s3-signer sign GET my-account my-bucket a/key.txt --expiration 300\n"
        "  s3-signer sign PUT my-account my-bucket a.txt --field content-type=text/plain",
    )
    command.add_argument(
        "method", metavar="METHOD", type=str.upper, choices=METHODS, help=f"what the URL is for: {', '.join(METHODS)}"
    )
    command.add_argument("account", metavar="ACCOUNT", help="id of the account")
    command.add_argument("bucket", metavar="BUCKET", help="name of the bucket")
    command.add_argument("key", metavar="KEY", help="key of the object, not percent-encoded")
    command.add_argument(
        "--expiration",
        metavar="SECONDS",
        help="how long the URL is valid, at most 604800 seconds; by default as the account says, or a day",
    )
    command.add_argument(
        "--field",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a field of the API that the URL carries, such as content-type or response-content-type; may be repeated",
    )


def _add_verify(add: _Add) -> None:
    command = add(
        "verify",
        help="say whether a server would refuse a presigned URL, and why",
        description="Takes a presigned URL (AWS Signature Version 4) apart, and signs it again with the stored account"
        " of its access key. Says what is wrong: expired, a clock, the host, the region, the secret, or the part"
        " that was changed after signing. Asks no server. Prints no secret and no signature.",
        epilog="examples:\n"
        "  s3-signer verify - < url.txt\n"
        "  s3-signer verify --method PUT --header 'content-type: text/plain' - < url.txt",
    )
    command.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        help="the URL, or the answer of the service, with details=true also with its headers; - or nothing reads it"
        " from standard input, which keeps it out of the history",
    )
    command.add_argument("--method", metavar="METHOD", help="the method of the refused request; by default any")
    command.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="a header of the refused request, for a URL that names it as signed; may be repeated",
    )
    _add_format(command)


def _add_check(add: _Add) -> None:
    command = add(
        "check",
        help="say what is wrong with settings, store, clock and accounts, and what to do",
        description="Checks the settings, the store, the clock and each account. Prints what is wrong, each with an"
        " advice, and how many accounts are right. Asks no S3 server, unless --live names a bucket.",
    )
    command.add_argument("accounts", metavar="ACCOUNT", nargs="*", help="id of an account; by default all are checked")
    command.add_argument(
        "--live", metavar="BUCKET", help="ask the S3 server of each account for a listing of this bucket"
    )
    _add_format(command)


def _add_account(add: _Add) -> None:
    command = add(
        "account",
        help="list, get, put or delete accounts",
        description="Reads and changes accounts in the store. Secrets are never shown.",
    )
    verbs = command.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    list_ = verbs.add_parser("list", help="print all accounts", description="Prints all accounts, sorted by id.")
    get = verbs.add_parser("get", help="print an account", description="Prints an account.")
    put = verbs.add_parser(
        "put",
        help="create or replace an account",
        description="Creates or replaces an account, as PUT /AwsAccount/{id} does, and prints it. The body is in YAML"
        " or JSON.",
        epilog="example:\n  s3-signer account put my-account - < account.yaml",
    )
    delete = verbs.add_parser("delete", help="delete an account", description="Deletes an account, and prints it.")
    for verb in (get, put, delete):
        verb.add_argument("id", metavar="ID", help="id of the account")
    put.add_argument("file", metavar="FILE", help="the body, or - for standard input")
    for verb in (list_, get, put, delete):
        _add_format(verb)


def _add_format(command: argparse.ArgumentParser, *, default: str = "yaml") -> None:
    command.add_argument(
        "--format", choices=("yaml", "json"), default=default, help=f"format of the output (default: {default})"
    )


class _Parser(argparse.ArgumentParser):
    """A parser that keeps the lines of an epilog, and knows no abbreviated options."""

    def __init__(self, *, description: str, **options: str) -> None:
        paragraphs = (textwrap.fill(" ".join(it.split()), 100) for it in description.split("\n\n"))
        super().__init__(
            **options,  # type: ignore[arg-type]
            description="\n\n".join(paragraphs),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def _exit_statuses() -> str:
    return "\n".join(["exit status:", *(f"  {status}  {meaning}" for status, meaning in EXIT_STATUSES.items())])


def _settings() -> str:
    """Return each setting with its default and the first sentence of its meaning."""
    lines = ["settings:"]
    for variable, (_, declaration) in settings.declarations().items():
        # Meanings are Markdown, for the page of settings.
        text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", declaration.meaning).replace("`", "")
        first = text.partition(". ")[0].rstrip(".")
        default = f" (default: {declaration.default})" if declaration.default else ""
        file = f", or {variable}{settings.FILE_SUFFIX}" if declaration.secret else ""
        lines += [f"  {variable}{file}", textwrap.indent(textwrap.fill(f"{first}{default}", 90), " " * 6)]
    return "\n".join(lines)
