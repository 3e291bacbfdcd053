"""Programs and libraries that tests need and that may not be installed."""

import importlib
import os
import shutil

import pytest


def missing(advice):
    """Skip the test; under ``CI=true``, which promises a complete machine, fail it.

    ``advice`` says what to install.
    """
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(advice)


def tool(*names, package):
    """The path of the first of these programs that is installed; ``package`` is the Debian package that has it."""
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    return missing(f"{names[0]} is not installed; on Debian: apt-get install {package}")


def library(name):
    """Import the module ``name`` of a library that is pinned in ``constraints.txt``."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    return missing(f"{name} is not installed; run: pip install {name} --constraint constraints.txt")
