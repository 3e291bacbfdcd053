"""Reads settings from a mapping of environment variables. Other packages get a ``Settings``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.settings.consistency import contradictions
from service.settings.regular_file import read_regular
from service.settings.settings import FILE_SUFFIX, PREFIX, Declaration, Settings, declarations


class SettingsError(Exception):
    """Settings that the service cannot start with; ``problems`` has one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings from environment variables.

    Raises:
        SettingsError: with all problems; no message contains the value of a secret.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for variable, (name, declaration) in declarations().items():
        try:
            text = _read_text(environ, variable, declaration)
            values[name] = declaration.parser(text)
        except* ValueError as group:
            problems += [f"{variable} {error}" for error in group.exceptions]
    if problems:
        raise SettingsError(problems)
    settings = Settings(**values, secret_files=_secret_files(environ))
    if problems := contradictions(settings):
        raise SettingsError(problems)
    return settings


def load_addresses(environ: Mapping[str, str]) -> Settings:
    """Return settings with only the addresses and TLS of the environment, without a look at any file.

    Raises:
        SettingsError: see ``load``.
    """
    names = ("HOST", "PORT", "SOCKET", "TLS_CERT", "TLS_KEY", "OPS_HOST", "OPS_PORT")
    read = {variable: environ[variable] for name in names if (variable := f"{PREFIX}{name}") in environ}
    # Whether an address needs authentication is the business of the process that listens there.
    return load({**read, f"{PREFIX}AUTH": "none"})


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables with our prefix that are no settings, most likely misspelt ones."""
    known = {*declarations(), *_file_variables()}
    return sorted(variable for variable in environ if variable.startswith(PREFIX) and variable not in known)


def unset_blank_variables(prefix: str) -> None:
    """Remove the variables with this prefix that are set to nothing, for libraries that read them."""
    for variable in _blank_variables():
        if variable.startswith(prefix):
            del os.environ[variable]


def empty_blank_proxies() -> None:
    """Set proxies of spaces alone to "", for libraries that take them for a URL."""
    for variable in _blank_variables():
        if variable.lower().endswith("_proxy"):
            # An empty one stays, because in lower case it takes the place of one in capitals.
            os.environ[variable] = ""


def secret_files(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables that name a file with a secret, each with the path."""
    variables = [
        *_file_variables(),
        *(f"{PREFIX}{name}" for name in ("ENCRYPTION_KEYS_FILE", "TLS_KEY", "INIT_BUNDLE")),
    ]
    return [(variable, path) for variable in variables if (path := _get(environ, variable))]


def trusted_files(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables that name a public file whose content grants access, each with the path."""
    variable = f"{PREFIX}JWT_JWKS"
    path = _get(environ, variable)
    return [(variable, path)] if path and "://" not in path else []


def _blank_variables() -> list[str]:
    return [variable for variable, value in os.environ.items() if not value.strip()]


def _secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        variable.removesuffix(FILE_SUFFIX): path for variable in _file_variables() if (path := _get(environ, variable))
    }


def _file_variables() -> list[str]:
    return [f"{variable}{FILE_SUFFIX}" for variable, (_, declaration) in declarations().items() if declaration.secret]


def _read_text(environ: Mapping[str, str], variable: str, declaration: Declaration) -> str:
    text = _get(environ, variable)
    file_variable = f"{variable}{FILE_SUFFIX}"
    path = _get(environ, file_variable) if declaration.secret else ""
    if not path:
        return text or declaration.default
    if text:
        raise ValueError(f"and {file_variable} are both set; keep one")
    try:
        content = read_regular(Path(path)).decode().strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        # The message has no path: an operator may have set this variable to the secret itself.
        raise ValueError(f"cannot be read from the file that {file_variable} names: {reason}") from None
    if not content:
        # The default, such as accounts in memory, would hide the mistake.
        raise ValueError(f"cannot be read from the file that {file_variable} names: it is empty")
    return content


def _get(environ: Mapping[str, str], variable: str) -> str:
    """Return the value, or "" for a blank one: templates write blanks for values that they do not have."""
    text = environ.get(variable, "")
    return "" if text.isspace() else text
