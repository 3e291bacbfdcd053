"""What the service logs and answers in a test run, searched for the secrets that tests use."""

import re

# Shorter ones are words that occur for other reasons.
SHORTEST = 12
LONGEST_SECRET = 1024
# A URL that is signed with temporary credentials has their token in it: nobody could use it otherwise.
SIGNED_URL = re.compile(r"https?://\S+?X-Amz-Signature=[0-9a-f]{64}")
# Whoever has logged in is told the token.
ISSUED_TOKEN = re.compile(r"(?:\"access_token\": ?|\baccess_token: )\"?[\w-]{43}")
_SENT = re.compile(r'"(?:secret-access-key|session-token|secret|client_secret)": ?"([^"\\]+)"')
# What a test sends as a secret, to see that it is refused, and what stands for one.
_NO_SECRETS = re.compile(r"<[a-z-]+>|sealed:.*")


class Watch:
    def __init__(self):
        self.secrets = set()
        self.looks = {"answer": 0, "log": 0, "audit": 0}
        self.found = []

    def keep(self, *texts):
        self.secrets |= {text for text in texts if len(text) >= SHORTEST and not _NO_SECRETS.fullmatch(text)}

    def sent(self, request):
        self.keep(*_SENT.findall(request.decode("latin-1")))

    def look(self, where, text):
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self.looks[where] += 1
        text = ISSUED_TOKEN.sub("", SIGNED_URL.sub("", text))
        self.found += [(where, secret, text[:500]) for secret in self.secrets if secret in text]


WATCH = Watch()
