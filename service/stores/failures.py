"""Failures of Redis: which errors mean a lost connection, a demoted server or a refused command."""

import re

from redis.exceptions import (
    ClusterDownError,
    ConnectionError,  # noqa: A004 - it is no OSError, and both mean a lost connection
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import StoreUnavailable

# uvloop raises a bare RuntimeError for a write to a transport that has just closed (MagicStack/uvloop#506).
LOST = (ConnectionError, RedisTimeoutError, OSError, RuntimeError)

_REFUSED = re.compile(r"(^|-)(OOM|MISCONF|BUSY) |ACL failure in script|The user executing the script can't ")
_DEMOTED = re.compile(r"\b(READONLY|UNBLOCKED|NOREPLICAS)\b")


class Refused(StoreUnavailable):
    """Redis answers with an error: its memory is full, it is a replica, or the user lacks a permission."""


class WrongType(Refused):
    """The key holds a value that is not a hash, which another program has written."""


def unreachable() -> StoreUnavailable:
    return StoreUnavailable("The account store cannot be reached")


def refusal(error: Exception) -> Refused:
    """Return the exception for an error reply, which says why if an operator must act before changes are possible."""
    # In errors of scripts, older servers put the code behind "Error running script".
    if isinstance(error, OutOfMemoryError) or "-OOM " in str(error):
        return Refused("The account store refuses the change, because its memory is full")
    if "NOREPLICAS" in str(error):
        return Refused("The account store refuses the change, because too few of its replicas are connected")
    if "MISCONF" in str(error):
        return Refused("The account store refuses the change, because it cannot write to its disk")
    return Refused("The account store refuses the command")


def is_demotion(error: Exception) -> bool:
    """Return whether the error means that this server is no working primary, so that another may be."""
    return isinstance(error, ReadOnlyError | ClusterDownError) or (
        isinstance(error, ResponseError) and _DEMOTED.search(str(error)) is not None
    )


def is_refused(error: Exception) -> bool:
    """Return whether Redis refuses a command, or a script at its first write, for the state or the rights that it has.

    Other error replies may come from a proxy that has passed on the command.
    """
    return (
        is_demotion(error)
        or isinstance(error, NoPermissionError | OutOfMemoryError)
        or (isinstance(error, ResponseError) and _REFUSED.search(str(error)) is not None)
    )


def is_temporary(error: Exception) -> bool:
    """Return whether a server refuses for a while only: it is no working primary, or it runs a slow script."""
    return is_demotion(error) or (isinstance(error, ResponseError) and str(error).startswith("BUSY "))


def reason(error: Exception) -> str:
    """Return the error in one line, without the arguments that Redis repeats, which may include a password."""
    message = str(error).partition(", with args")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
