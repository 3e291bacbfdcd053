"""The commands of an operator, run in this process."""

import json

import yaml

from service.commands import account, check, completion, rekey, sign, verify
from service.commands.arguments import parser
from service.settings import load
from support.accounts import KEYS

COMMANDS = {
    "account": account,
    "check": check,
    "completion": completion,
    "rekey": rekey,
    "sign": sign,
    "verify": verify,
}
BODY = {**KEYS, "region": "us-east-1", "use-ssl": True}
SIGNED_URL = (
    f"https://my-bucket.s3.amazonaws.com/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEYS['access-key-id']}"
    "%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    f"&X-Amz-Signature={'0' * 64}"
)


class Operator:
    """Runs commands in this process. ``err`` has the errors of the last one, and ``audit`` its audit lines."""

    def __init__(self, capfd, **environ):
        self._capfd = capfd
        self._environ = environ
        self.audit = []
        self.err = ""

    def run(self, *arguments):
        """The exit status and the output."""
        parsed = parser().parse_args(arguments)
        self._capfd.readouterr()
        status = COMMANDS[parsed.command].run(load(self._environ), parsed)
        out, err = self._capfd.readouterr()
        self.err = err
        self.audit = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        return status, out

    def data(self, *arguments):
        """The exit status and the output as data."""
        status, out = self.run(*arguments)
        return status, yaml.safe_load(out)
