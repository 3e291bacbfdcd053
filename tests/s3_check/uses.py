"""What an S3 server does with a use of a signed URL, and what that means."""

import re
from enum import StrEnum
from typing import NamedTuple

from live.raw_http import Answer

# Error codes of S3 that find fault with the signature, with whatever status they come.
SIGNATURE_CODES = re.compile("SignatureDoesNotMatch|Authorization.*|Invalid(AccessKeyId|Token)|RequestTimeTooSkewed")


class Verdict(StrEnum):
    """The result of a use. Only the last one is a fault."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    LACKS = "lacks"
    WRONG = "WRONG"


class Use(NamedTuple):
    """A use of a signed URL, and how the server has answered."""

    name: str
    expected: Verdict
    verdict: Verdict
    answer: str


def right(name: str, *answers: Answer, kept: bool = True) -> Use:
    """Evaluate a use that the server has to accept, which may take several requests.

    The server lacks what it refuses for another reason than the signature, and what it accepts without an effect, which
    is ``kept=False``.
    """
    failed = next((answer for answer in answers if answer.status >= 300), None)
    if failed is not None:
        faulty = failed.status < 400 or failed.status in {401, 403, 500} or SIGNATURE_CODES.fullmatch(_code(failed))
        return Use(name, Verdict.ACCEPTED, Verdict.WRONG if faulty else Verdict.LACKS, _shown(failed))
    if not kept:
        return Use(name, Verdict.ACCEPTED, Verdict.LACKS, f"{_shown(answers[-1])} without effect")
    return Use(name, Verdict.ACCEPTED, Verdict.ACCEPTED, _shown(answers[-1]))


def wrong(name: str, *answers: Answer, signed: bool = True) -> Use:
    """Evaluate uses that the server has to refuse.

    With ``signed`` they differ from what was signed, so to accept one is a fault. Without it, the server has to verify
    something else, such as a checksum, and it lacks that if it accepts.
    """
    # A server that says that there is no such object has not refused the request.
    accepted = next(
        (it for it in answers if it.status < 400 or (it.status == 404 and _code(it) in {"", "NoSuchKey"})), None
    )
    if accepted is None:
        return Use(name, Verdict.REFUSED, Verdict.REFUSED, _shown(answers[0]))
    return Use(name, Verdict.REFUSED, Verdict.WRONG if signed else Verdict.LACKS, _shown(accepted))


def _shown(answer: Answer) -> str:
    return f"{answer.status} {_code(answer)}".strip()


def _code(answer: Answer) -> str:
    found = re.search(rb"<Code>(\w{1,64})</Code>", answer.body[:10_000])
    return found[1].decode() if found else ""
