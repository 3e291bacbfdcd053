"""Searches all that the service logs and answers in a test run for the secrets that tests use."""

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

# Shorter ones are words that occur for other reasons.
SHORTEST = 12
# A URL that is signed with temporary credentials has their token in it: nobody could use it otherwise.
SIGNED_URL = re.compile(r"https?://\S+?X-Amz-Signature=[0-9a-f]{64}")
# The answer to a login has the token in it.
ISSUED_TOKEN = re.compile(r"(?:\"access_token\": ?|\baccess_token: )\"?(root\.[\w-]{75}|[\w-]{43})")
# The answers that show a secret once: to a rotation, and to a POST that generates one.
SHOWN_SECRET = re.compile(r"\"secret\": ?\"([^\"]+)\"(?=, ?\"previous-expires\")|\"secret\": ?\"([\w-]{43})\"")
# In JSON, YAML or a form.
_SENT = re.compile(r"\b(?:secret-access-key|session-token|secret|client_secret)\"?(?:: ?|=)\"?([^\"\\\s&,}]+)")
# What a test sends as a secret, to see that it is refused, and what stands for one.
_NO_SECRETS = re.compile(r"<[a-z0-9-]+>|sealed:.*")


class Watch:
    """The secrets of one process, and where they have been found."""

    def __init__(self):
        self.secrets = set()
        self.looks = {"answer": 0, "log": 0, "audit": 0}
        self.found = []

    def keep(self, *texts):
        self.secrets |= {text for text in texts if len(text) >= SHORTEST and not _NO_SECRETS.fullmatch(text)}

    def keep_settings(self, environ):
        """Remember the secrets among the settings of a service, given as environment variables."""
        keys = environ.get("SIGNER_ENCRYPTION_KEYS_FILE")
        self.keep(
            environ.get("SIGNER_ROOT_CLIENT_SECRET", ""),
            urlsplit(environ.get("SIGNER_STORE_URL", "")).password or "",
            *(Path(keys).read_text().split()[1::2] if keys else ()),
        )

    def sent(self, request):
        """Remember the secrets in a request, or in a part of one."""
        self.keep(*_SENT.findall(bytes(request).decode("utf-8", "replace")))

    def look(self, where, text):
        """Search an answer, a log line or lines of the audit log."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self.looks[where] += 1
        self.keep(*ISSUED_TOKEN.findall(text), *(secret for pair in SHOWN_SECRET.findall(text) for secret in pair))
        text = SHOWN_SECRET.sub("", ISSUED_TOKEN.sub("", SIGNED_URL.sub("", text)))
        self.found += [(where, secret, text[:500]) for secret in self.secrets if secret in text]


WATCH = Watch()


def traced():
    """Return a trace configuration under which an aiohttp client shows ``WATCH`` its requests and answers."""
    config = aiohttp.TraceConfig()
    config.on_request_chunk_sent.append(_sent)
    config.on_request_end.append(_answered)
    return config


async def _sent(_, __, params):
    WATCH.sent(params.chunk)


async def _answered(_, __, params):
    response = params.response
    # A script is a file of the package. Those of the console have the example of AWS' documents, which tests also send.
    if response.content_type == "text/javascript":
        return
    # A body that breaks off fails where the test reads it.
    with suppress(aiohttp.ClientError):
        headers = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
        WATCH.look("answer", headers.encode() + await response.read())
