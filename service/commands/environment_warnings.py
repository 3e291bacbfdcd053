"""What is doubtful about the environment, although the settings are valid."""

from collections.abc import Mapping

from service.settings import environment, file_permissions
from service.telemetry import tracing


def environment_warnings(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each unknown setting, for traces that cannot be sent, and for each file others can read."""
    warnings = [
        f"{variable} is no setting of this version and does nothing"
        for variable in environment.unknown_variables(environ)
    ]
    if reason := tracing.problem(environ):
        warnings.append(reason)
    if not file_permissions.in_container(environ):
        secret, trusted = environment.secret_files(environ), environment.trusted_files(environ)
        warnings += file_permissions.warnings(secret, trusted)
    return warnings
