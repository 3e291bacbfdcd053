"""Valid tokens are accepted and attacks are refused. The keys are generated here and published in a file."""

import asyncio
import base64
import hmac
import json
import string
from hashlib import sha256

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from issuer import SigningKey, compact, encode, key_set

from service.access.jwt import jwks
from service.access.jwt import verifier as verifier_module
from service.access.jwt.jwk import ALGORITHMS
from service.access.jwt.jwks import FileSource, JwksProvider
from service.access.jwt.verifier import MAX_LENGTH, MAX_SECONDS, InvalidToken, JwtVerifier
from service.mounted_files import read_file

NOW = 1_750_000_000
ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "s3-signer"

FIRST, SECOND, CURVE = SigningKey("first"), SigningKey("second"), SigningKey("curve", "ES256")
STRANGER = SigningKey("stranger")
PEM = FIRST.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

# A projected `serviceAccountToken` of Kubernetes 1.30.
PROJECTED = {
    "aud": [AUDIENCE, ISSUER],
    "exp": NOW + 3607,
    "iat": NOW,
    "iss": ISSUER,
    "jti": "7c1f3f5e-9d3a-4b8e-8a44-6a1b5e0f7a11",
    "kubernetes.io": {
        "namespace": "lab",
        "node": {"name": "node-1", "uid": "5f8ff4b0-2a6b-4e3c-a1ad-3d5f3f5d1c22"},
        "pod": {"name": "uploader-0", "uid": "b0f2d4b8-1d8a-4f57-9c0e-24f0a4f6d333"},
        "serviceaccount": {"name": "uploader", "uid": "0a9e6d4c-5f0b-4e5d-8b1a-7c8d9e0f1444"},
    },
    "nbf": NOW,
    "sub": "system:serviceaccount:lab:uploader",
}


@pytest.fixture
def clock(clock):
    clock.now = float(NOW)
    return clock


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(FIRST, SECOND, CURVE))
    return path


@pytest.fixture
async def keys(file):
    keys = JwksProvider.at(str(file))
    await keys.use(file.read_bytes())
    yield keys
    await keys.close()


@pytest.fixture
def verifier(keys, clock):
    return JwtVerifier(ISSUER, AUDIENCE, keys, clock=clock)


@pytest.fixture
def verifications(monkeypatch):
    """The tokens that were verified, without cache hits."""
    seen = []
    verify = JwtVerifier._verify
    monkeypatch.setattr(JwtVerifier, "_verify", lambda verifier, token: seen.append(token) or verify(verifier, token))
    return seen


async def refusal(verifier, token):
    """Return why the token is refused, twice: the first refusal must change nothing."""
    with pytest.raises(InvalidToken) as first:
        await verifier.verify(token)
    with pytest.raises(InvalidToken) as second:
        await verifier.verify(token)
    assert first.value.reason == second.value.reason
    assert first.value.__cause__ is None
    return first.value.reason


def claims(**changes):
    """Return the claims of a projected token with changes. None removes a claim."""
    return {name: value for name, value in {**PROJECTED, **changes}.items() if value is not None}


def with_secret(secret, alg="HS256"):
    signed = f"{compact({'alg': alg, 'kid': 'first'})}.{compact(PROJECTED)}"
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"


def parts(token):
    return token.split(".")


async def test_a_projected_service_account_token_is_valid(verifier):
    token = FIRST.token(PROJECTED, typ=None)

    assert await verifier.verify(token) == PROJECTED


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
@pytest.mark.slow
async def test_each_asymmetric_algorithm_is_accepted(file, keys, verifier, alg):
    key = SigningKey(alg, alg)
    file.write_bytes(key_set(key))

    assert await verifier.verify(key.token(PROJECTED)) == PROJECTED


async def test_a_token_of_pyjwt_is_valid(verifier):
    token = jwt.encode(PROJECTED, FIRST.private, algorithm="RS256", headers={"kid": "first"})

    assert await verifier.verify(token) == PROJECTED


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "application/at+JWT", "JOSE"])
async def test_types_of_access_tokens_are_accepted(verifier, typ):
    assert await verifier.verify(FIRST.token(PROJECTED, typ=typ)) == PROJECTED


@pytest.mark.parametrize("aud", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
async def test_the_audience_may_be_in_a_list(verifier, aud):
    assert await verifier.verify(FIRST.token(claims(aud=aud))) == claims(aud=aud)


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW + 1},
        {"exp": NOW + 0.5},
        {"nbf": NOW + 30},
        {"iat": NOW + 30},
        {"nbf": None, "iat": None, "sub": None},
        {"exp": NOW + 10 * MAX_SECONDS},
        {"exp": NOW + MAX_SECONDS, "iat": None},
        {"iat": NOW - MAX_SECONDS + 1},
    ],
)
async def test_timestamps_are_accepted_up_to_their_bounds(verifier, change):
    assert await verifier.verify(FIRST.token(claims(**change))) == claims(**change)


@pytest.mark.parametrize("deep", ["[" * 15 + "]" * 15, '{"a":' * 15 + "1" + "}" * 15, "[" + "[]," * 1000 + "[]]"])
async def test_claims_may_be_nested_as_deep_as_a_body(verifier, deep):
    token = FIRST.token(json.dumps(PROJECTED)[:-1].encode() + f', "a": {deep}}}'.encode())

    assert (await verifier.verify(token))["a"] == json.loads(deep)


async def test_a_number_in_claims_may_be_as_long_as_in_a_body(verifier):
    number = 10**64 - 1

    assert await verifier.verify(FIRST.token(claims(a=number))) == claims(a=number)


async def test_a_token_without_a_kid_is_valid_if_one_key_matches(verifier):
    assert await verifier.verify(CURVE.token(PROJECTED, kid=None)) == PROJECTED


NOT_A_JWT = "the token is not a JWT"
NOT_ALLOWED = "the token's algorithm is not allowed"
NO_KEY = "the token is not signed by a key of the issuer"
WRONG = "the token's signature is wrong"
NO_JSON = "the token is not made of JSON objects"
OTHER_AUDIENCE = "the token is for another audience"
OTHER_ISSUER = "the token is of another issuer"
OTHER_TYPE = "the token is of another type"
EXPIRED = "the token has expired"
NOT_YET = "the token is not valid yet"
TOO_LONG = "the token is too long, or not in ASCII"
TOO_FAR = f"the token has no iat, and its exp is more than {MAX_SECONDS} seconds ahead"
NO_EXP = "the token's exp is missing, or not a timestamp"
NO_NBF = "the token's nbf is missing, or not a timestamp"
NO_SUB = "the token's sub is not a string"
CRITICAL = "the token has critical extensions"
NO_KID = "the token's kid is not a string"

TRUE = FIRST.token(PROJECTED)
HEADER, PAYLOAD, SIGNATURE = parts(TRUE)
SIGNED = base64.urlsafe_b64decode(SIGNATURE + "==")
CURVED = CURVE.token(PROJECTED).rpartition(".")[0]

ATTACKS = {
    # Without a key, or with a public one.
    "alg none": (f"{compact({'alg': 'none', 'kid': 'first'})}.{PAYLOAD}.", NOT_ALLOWED),
    "alg none in capitals": (f"{compact({'alg': 'NONE', 'kid': 'first'})}.{PAYLOAD}.", NOT_ALLOWED),
    "alg none with a signature": (f"{compact({'alg': 'none', 'kid': 'first'})}.{PAYLOAD}.{SIGNATURE}", NOT_ALLOWED),
    "no alg": (FIRST.token(PROJECTED, alg=None), NOT_ALLOWED),
    "alg a list": (FIRST.token(PROJECTED, alg=["RS256"]), NOT_ALLOWED),
    "alg in lower case": (FIRST.token(PROJECTED, alg="rs256"), NOT_ALLOWED),
    "the PEM as an HMAC secret": (with_secret(PEM), NOT_ALLOWED),
    "the stripped PEM as an HMAC secret": (with_secret(PEM.strip()), NOT_ALLOWED),
    "the modulus as an HMAC secret": (with_secret(FIRST.public_jwk["n"].encode()), NOT_ALLOWED),
    "an HMAC under RS256": (with_secret(PEM, "RS256"), WRONG),
    "no signature": (f"{HEADER}.{PAYLOAD}.", WRONG),
    # A header that chooses its key.
    "an embedded key": (STRANGER.token(PROJECTED, kid="first", jwk=STRANGER.public_jwk), WRONG),
    "an embedded key without a kid of the set": (STRANGER.token(PROJECTED, jwk=STRANGER.public_jwk), NO_KEY),
    "a key by jku": (STRANGER.token(PROJECTED, jku="http://127.0.0.1:1/jwks"), NO_KEY),
    "a key by x5u": (STRANGER.token(PROJECTED, kid="first", x5u="http://127.0.0.1:1/cert"), WRONG),
    "a key by x5c": (STRANGER.token(PROJECTED, kid="first", x5c=["MIIB"]), WRONG),
    "the kid of another key": (FIRST.token(PROJECTED, kid="second"), WRONG),
    "the kid of a key of another type": (FIRST.token(PROJECTED, kid="curve"), NO_KEY),
    "another algorithm of the key's type": (FIRST.token(PROJECTED, alg="PS256"), WRONG),
    "an algorithm of another key type": (FIRST.token(PROJECTED, alg="ES256"), NO_KEY),
    "no kid with two matching keys": (
        FIRST.token(PROJECTED, kid=None),
        "the token matches several keys of the issuer",
    ),
    "an unknown kid": (FIRST.token(PROJECTED, kid="third"), NO_KEY),
    "a kid that is a path": (FIRST.token(PROJECTED, kid="../../../../dev/null"), NO_KEY),
    "a kid that is a query": (FIRST.token(PROJECTED, kid="first' UNION SELECT 'secret"), NO_KEY),
    "a kid that is a URL": (FIRST.token(PROJECTED, kid="http://127.0.0.1:1/first"), NO_KEY),
    "a kid with a NUL": (FIRST.token(PROJECTED, kid="first\0"), NO_KEY),
    "an empty kid": (FIRST.token(PROJECTED, kid=""), NO_KEY),
    "a kid that is a number": (FIRST.token(PROJECTED, kid=1), NO_KID),
    "a kid that is a list": (FIRST.token(PROJECTED, kid=["first"]), NO_KID),
    # A header that changes the rules.
    "critical extensions": (FIRST.token(PROJECTED, crit=["exp"], exp=1), CRITICAL),
    "an empty list of critical extensions": (FIRST.token(PROJECTED, crit=[]), CRITICAL),
    "a detached payload": (FIRST.token(PROJECTED, b64=False, crit=["b64"]), CRITICAL),
    "b64 without crit": (FIRST.token(PROJECTED, b64=False), CRITICAL),
    "a logout token": (FIRST.token(PROJECTED, typ="logout+jwt"), OTHER_TYPE),
    "a DPoP proof": (FIRST.token(PROJECTED, typ="application/dpop+jwt"), OTHER_TYPE),
    "a typ that is a list": (FIRST.token(PROJECTED, typ=["JWT"]), OTHER_TYPE),
    # Changed parts.
    "a truncated signature": (f"{HEADER}.{PAYLOAD}.{encode(SIGNED[:-1])}", WRONG),
    "a longer signature": (f"{HEADER}.{PAYLOAD}.{encode(SIGNED + bytes(1))}", WRONG),
    "another header": (f"{compact({'kid': 'first', 'alg': 'RS256'})}.{PAYLOAD}.{SIGNATURE}", WRONG),
    "another payload": (f"{HEADER}.{compact(claims(sub='root'))}.{SIGNATURE}", WRONG),
    "another token's signature": (f"{HEADER}.{PAYLOAD}.{parts(FIRST.token(claims(sub='root')))[2]}", WRONG),
    "nonzero trailing bits": (TRUE[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[TRUE[-1]], NOT_A_JWT),
    "an all-zero ECDSA signature": (f"{CURVED}.{encode(bytes(64))}", WRONG),
    "an ECDSA signature in DER": (f"{CURVED}.{encode(CURVE.private.sign(CURVED.encode(), ECDSA(SHA256())))}", WRONG),
    # Issuer and audience.
    "another issuer": (FIRST.token(claims(iss="https://evil.example")), OTHER_ISSUER),
    "the issuer with a slash": (FIRST.token(claims(iss=ISSUER + "/")), OTHER_ISSUER),
    "the issuer in a list": (FIRST.token(claims(iss=[ISSUER])), OTHER_ISSUER),
    "no issuer": (FIRST.token(claims(iss=None)), OTHER_ISSUER),
    "another audience": (FIRST.token(claims(aud="other")), OTHER_AUDIENCE),
    "other audiences": (FIRST.token(claims(aud=["other", "s3"])), OTHER_AUDIENCE),
    "an audience that contains ours": (FIRST.token(claims(aud="not-s3-signer")), OTHER_AUDIENCE),
    "an audience in a list in a list": (FIRST.token(claims(aud=[[AUDIENCE]])), OTHER_AUDIENCE),
    "an audience as a member name": (FIRST.token(claims(aud={AUDIENCE: 1})), OTHER_AUDIENCE),
    "no audience": (FIRST.token(claims(aud=None)), OTHER_AUDIENCE),
    "no audiences": (FIRST.token(claims(aud=[])), OTHER_AUDIENCE),
    "a subject that is a number": (FIRST.token(claims(sub=5)), NO_SUB),
    # Times.
    "expired": (FIRST.token(claims(exp=NOW - 1)), EXPIRED),
    "exp is now": (FIRST.token(claims(exp=NOW)), EXPIRED),
    "nbf in a minute": (FIRST.token(claims(nbf=NOW + 60)), NOT_YET),
    "nbf beyond the leeway": (FIRST.token(claims(nbf=NOW + 30.5)), NOT_YET),
    "iat in a minute": (FIRST.token(claims(iat=NOW + 60)), NOT_YET),
    "an iat above the maximum lifetime": (FIRST.token(claims(iat=NOW - MAX_SECONDS)), EXPIRED),
    "no iat and a late exp": (FIRST.token(claims(iat=None, exp=NOW + MAX_SECONDS + 1)), TOO_FAR),
    "no exp": (FIRST.token(claims(exp=None)), NO_EXP),
    "exp as text": (FIRST.token(claims(exp=str(NOW + 60))), NO_EXP),
    "exp as a boolean": (FIRST.token(claims(exp=True)), NO_EXP),
    "exp 1e999": (FIRST.token(b'{"exp": 1e999, ' + json.dumps(claims(exp=None))[1:].encode()), NO_EXP),
    "exp 10**60": (FIRST.token(claims(exp=10**60)), NO_EXP),
    "exp in milliseconds": (FIRST.token(claims(exp=(NOW + 60) * 1000)), NO_EXP),
    "exp NaN": (FIRST.token(claims(exp=float("nan"))), NO_JSON),
    "exp Infinity": (FIRST.token(claims(exp=float("inf"))), NO_JSON),
    "nbf null": (FIRST.token(b'{"nbf": null, ' + json.dumps(claims(nbf=None))[1:].encode()), NO_NBF),
    "nbf as text": (FIRST.token(claims(nbf="0")), NO_NBF),
    # Malformed JSON.
    "a duplicate claim": (FIRST.token(json.dumps(PROJECTED)[:-1].encode() + b', "aud": "x"}'), NO_JSON),
    "a duplicate member in a claim": (
        FIRST.token(json.dumps(PROJECTED)[:-1].encode() + b', "a": {"b": 1, "b": 2}}'),
        NO_JSON,
    ),
    "a duplicate header member": (FIRST.sign(b'{"alg": "none", "alg": "RS256", "kid": "first"}', PROJECTED), NO_JSON),
    "a lone surrogate": (FIRST.token(claims(sub="\ud800")), NO_JSON),
    "a lone surrogate with an upper case escape": (
        FIRST.token(json.dumps(PROJECTED)[:-1].encode() + rb', "a": "\uD800"}'),
        NO_JSON,
    ),
    "claims that are a list": (FIRST.token([PROJECTED]), NO_JSON),
    "claims that are a token": (FIRST.token(TRUE.encode(), cty="JWT"), NO_JSON),
    "claims that are not closed": (FIRST.token(b'{"a":' * 1500), NO_JSON),
    "claims one level too deep": (
        FIRST.token(json.dumps(PROJECTED)[:-1].encode() + b', "a": ' + b"[" * 16 + b"]" * 16 + b"}"),
        NO_JSON,
    ),
    "claims too deep": (FIRST.token(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"), NO_JSON),
    "a number too long": (FIRST.token(b'{"a":' + b"1" * 5000 + b"}"), NO_JSON),
    "a number one digit too long": (FIRST.token(claims(a=10**64)), NO_JSON),
    "a fraction too long": (
        FIRST.token(json.dumps(PROJECTED)[:-1].encode() + b', "a": 0.' + b"1" * 63 + b"}"),
        NO_JSON,
    ),
    "a surrogate in UTF-8": (
        FIRST.token(json.dumps(PROJECTED)[:-1].encode() + b', "a": "\xed\xa0\xbd"}'),
        NO_JSON,
    ),
    "claims in UTF-16": (FIRST.token(json.dumps(PROJECTED).encode("utf-16")), NO_JSON),
    "claims that are not UTF-8": (FIRST.token(b'{"a": "\xff"}'), NO_JSON),
    "a header that is a list": (FIRST.sign([], PROJECTED), NO_JSON),
    "a header that is not JSON": (FIRST.sign(b"alg: RS256", PROJECTED), NO_JSON),
    "a header too deep": (FIRST.sign(b"[" * 5000, PROJECTED), NO_JSON),
    "a header of one character": (f"e.{PAYLOAD}.{SIGNATURE}", NOT_A_JWT),
    "nothing": ("", NOT_A_JWT),
    "two dots": ("..", NOT_A_JWT),
    "no dots": ("A" * 43, NOT_A_JWT),
    "one dot": (f"{HEADER}.{PAYLOAD}", NOT_A_JWT),
    "five parts": (f"{TRUE}.{HEADER}.{PAYLOAD}", NOT_A_JWT),
    "padding": (TRUE + "=", NOT_A_JWT),
    "standard base64": (f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-2]}+/", NOT_A_JWT),
    "a newline": (TRUE + "\n", NOT_A_JWT),
    "a leading space": (" " + TRUE, NOT_A_JWT),
    "the Bearer scheme": ("Bearer " + TRUE, NOT_A_JWT),
    "a character that is not ASCII": (TRUE + "é", TOO_LONG),
    "a byte that is not UTF-8": (TRUE + "\udcff", TOO_LONG),
    "too long": (TRUE + "A" * MAX_LENGTH, TOO_LONG),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.slow
async def test_an_attack_is_refused(verifier, attack):
    token, reason = ATTACKS[attack]

    assert await refusal(verifier, token) == reason
    assert not verifier._cache


async def test_the_length_of_a_token_is_limited(verifier, monkeypatch):
    monkeypatch.setattr(verifier_module, "MAX_LENGTH", len(TRUE))
    longer = FIRST.token(claims(sub=PROJECTED["sub"] + "s"))

    assert await verifier.verify(TRUE) == PROJECTED
    assert await refusal(verifier, longer) == TOO_LONG


def test_a_refusal_quotes_nothing_of_its_token():
    assert {reason for _, reason in ATTACKS.values()} == {
        value for name, value in globals().items() if name.isupper() and str(value).startswith("the token")
    } | {"the token matches several keys of the issuer"}


async def test_a_verified_token_is_cached(verifier, verifications):
    first, second = await verifier.verify(TRUE), await verifier.verify(TRUE)

    assert first == second == PROJECTED
    assert len(verifications) == 1


async def test_a_cached_token_expires(verifier, clock):
    await verifier.verify(TRUE)
    clock.now = PROJECTED["exp"] - 0.001
    await verifier.verify(TRUE)
    clock.now = float(PROJECTED["exp"])

    assert await refusal(verifier, TRUE) == EXPIRED


async def test_a_withdrawn_key_invalidates_cached_tokens(file, keys, verifier):
    await verifier.verify(TRUE)
    file.write_bytes(key_set(SECOND))
    await keys.use(file.read_bytes())

    assert await refusal(verifier, TRUE) == NO_KEY


async def test_a_key_replaced_under_its_kid_invalidates_cached_tokens(verifier, file):
    await verifier.verify(TRUE)
    file.write_bytes(key_set({**SECOND.public_jwk, "kid": "first"}))
    await refusal(verifier, FIRST.token(PROJECTED, kid="unknown"))

    assert await refusal(verifier, TRUE) == WRONG


async def test_a_token_stays_valid_when_other_keys_change(verifier, file, verifications):
    await verifier.verify(TRUE)
    file.write_bytes(key_set(FIRST))
    await refusal(verifier, FIRST.token(PROJECTED, kid="unknown"))

    assert await verifier.verify(TRUE) == PROJECTED
    assert verifications.count(TRUE) == 2


async def test_the_cache_evicts_the_least_recently_used_token(keys, clock, verifications):
    verifier = JwtVerifier(ISSUER, AUDIENCE, keys, clock=clock, size=2)
    one, two, three = (CURVE.token(claims(jti=str(n))) for n in range(3))
    for token in (one, two, one, three, one, two):
        await verifier.verify(token)

    assert verifications == [one, two, three, two]
    assert len(verifier._cache) == 2


async def test_the_cache_does_not_hold_tokens(verifier):
    await verifier.verify(TRUE)

    assert list(verifier._cache) == [sha256(TRUE.encode()).digest()]
    assert SIGNATURE not in repr(verifier._cache)


async def test_an_invalid_token_is_not_cached(verifier, clock):
    token = FIRST.token(claims(nbf=NOW + 60))
    await refusal(verifier, token)
    clock.now += 60

    assert await verifier.verify(token) == claims(nbf=NOW + 60)


async def test_a_new_key_is_accepted_immediately(verifier, file):
    token = STRANGER.token(PROJECTED)
    file.write_bytes(key_set(FIRST, STRANGER))

    assert await verifier.verify(token) == PROJECTED


async def test_a_thousand_unknown_kids_cause_one_read(verifier, monkeypatch):
    reads = []
    monkeypatch.setattr(jwks, "read_file", lambda path, **_: reads.append(1) or read_file(path))
    monkeypatch.setattr(FileSource, "pause", 60.0)
    tokens = [f"{compact({'alg': 'RS256', 'kid': f'kid {n}'})}.{PAYLOAD}.{SIGNATURE}" for n in range(1000)]
    # Concurrent tokens share a read; later ones cause none.
    results = await asyncio.gather(*map(verifier.verify, tokens[:500]), return_exceptions=True)
    for token in tokens[500:]:
        results += await asyncio.gather(verifier.verify(token), return_exceptions=True)

    assert {result.reason for result in results} == {NO_KEY}
    assert len(reads) == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.slow
async def test_a_changed_token_is_refused_without_a_crash(verifier, data):
    alphabet = string.ascii_letters + string.digits + "-_.=+ é\0"
    begin = data.draw(st.integers(0, len(TRUE)))
    end = data.draw(st.integers(begin, min(begin + 5, len(TRUE))))
    token = TRUE[:begin] + data.draw(st.text(alphabet, max_size=5)) + TRUE[end:]

    if token != TRUE:
        await refusal(verifier, token)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(["alg", "kid", "typ", "crit", "b64"]),
    st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "jti"]),
)
async def test_no_header_or_claim_causes_a_crash(verifier, value, member, claim):
    for token in (
        CURVE.sign({"alg": "ES256", "kid": "curve", member: value}, PROJECTED),
        CURVE.token({**PROJECTED, claim: value}),
    ):
        try:
            await verifier.verify(token)
        except InvalidToken as error:
            assert error.reason.startswith("the token")  # noqa: PT017 - either is right


async def test_a_token_expires_after_the_maximum_lifetime(keys, clock):
    verifier = JwtVerifier(ISSUER, AUDIENCE, keys, max_seconds=600, clock=clock)
    token = FIRST.token(claims(exp=NOW + 10 * MAX_SECONDS))
    clock.now += 599
    accepted = await verifier.verify(token)
    clock.now += 1

    assert accepted
    assert await refusal(verifier, token) == EXPIRED
