import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from issuer import SIGNERS, SigningKey, key_set

from service.access.jwt.jwk import ALGORITHMS, MAX_KEYS, JwksError, parse_jwks

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

OTHER_TYPES = [
    {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "X25519", "x": "AA"},
    {"kty": "OKP", "crv": "Ed448", "x": "AA"},
    {"kty": "EC"},
    {"kty": ["RSA"]},
    {"kty": None},
    {},
]


def keys_of(*entries):
    return parse_jwks(key_set(*entries)).keys


@pytest.mark.parametrize(
    ("alg", "algorithms"),
    [("RS256", RSA), ("ES256", {"ES256"}), ("ES384", {"ES384"}), ("ES512", {"ES512"}), ("EdDSA", {"EdDSA"})],
)
def test_a_key_verifies_by_the_algorithms_of_its_type(alg, algorithms):
    signing_key = SigningKey("k", alg)

    (key,) = keys_of(signing_key)

    assert (key.kid, key.algorithms) == ("k", algorithms)
    assert key.key.public_bytes_raw() if alg == "EdDSA" else key.key == signing_key.private.public_key()


def test_no_algorithm_is_symmetric():
    assert not [alg for alg in ALGORITHMS if alg.startswith("HS") or alg == "none"]


def test_a_key_with_an_algorithm_is_for_that_one():
    (key,) = keys_of({**SigningKey().public_jwk, "alg": "PS384"})

    assert key.algorithms == {"PS384"}


@pytest.mark.parametrize(
    "addition",
    [
        {"use": "enc"},
        {"use": None},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "ES256"},
    ],
)
def test_a_key_for_another_purpose_is_ignored(addition):
    parsed = parse_jwks(key_set({**SigningKey("other").public_jwk, **addition}, SigningKey()))

    assert [key.kid for key in parsed.keys] == ["first"]
    assert not parsed.warnings


@pytest.mark.parametrize("jwk", OTHER_TYPES)
def test_a_key_of_another_type_is_ignored(jwk):
    parsed = parse_jwks(key_set(jwk, SigningKey()))

    assert [key.kid for key in parsed.keys] == ["first"]
    assert not parsed.warnings


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "kid": "bad", "k": "c2VjcmV0"},
        {"kty": "oct", "kid": "bad", "alg": "RS256", "k": "c2VjcmV0"},
        SigningKey("bad").private_jwk,
        SigningKey("bad", "ES256").private_jwk,
        SigningKey("bad", "EdDSA").private_jwk,
    ],
)
def test_a_key_with_its_private_part_is_ignored_with_a_warning(jwk):
    parsed = parse_jwks(key_set(jwk, SigningKey()))

    assert [key.kid for key in parsed.keys] == ["first"]
    assert parsed.warnings == ("key 'bad' is ignored, as it contains its private part",)


def test_a_short_or_huge_rsa_key_is_ignored_with_a_warning():
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - a weak key is needed
    short = SIGNERS["RS256"].to_jwk(weak.public_key(), as_dict=True)
    long = {**short, "n": "_" * 1366 + "w"}

    parsed = parse_jwks(key_set({**short, "kid": "s"}, {**long, "kid": "l"}))

    assert not parsed.keys
    assert parsed.warnings == (
        "key 'l' is ignored, as it is malformed",
        "key 's' is ignored, as it does not have 2048 to 8192 bits",
        "it has no key that could verify a signature",
    )


@pytest.mark.parametrize(
    "change",
    [{"n": None}, {"n": 5}, {"n": ""}, {"n": "!!!"}, {"e": "AQ"}, {"n": ["AQAB"]}, {"n": "A" * 100_000}, {"n": "é"}],
)
def test_a_malformed_key_is_a_warning_and_the_others_are_used(change):
    parsed = parse_jwks(key_set({**SigningKey("bad").public_jwk, **change}, SigningKey()))

    assert [key.kid for key in parsed.keys] == ["first"]
    assert parsed.warnings == ("key 'bad' is ignored, as it is malformed",)


def test_a_point_off_its_curve_is_malformed():
    jwk = SigningKey("bad", "ES256").public_jwk
    other = SIGNERS["ES256"].to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)

    parsed = parse_jwks(key_set({**jwk, "y": other["y"]}))

    assert "key 'bad' is ignored, as it is malformed" in parsed.warnings


def test_a_kid_that_is_not_a_string_is_a_warning():
    parsed = parse_jwks(key_set({**SigningKey().public_jwk, "kid": 5}))

    assert "key '5' is ignored, as it has a kid that is not a string" in parsed.warnings


def test_warnings_quote_only_kids():
    parsed = parse_jwks(key_set({"kid": "x" * 1000, "kty": "oct", "k": "hidden"}, "hidden", {"kid": 5}))

    assert "hidden" not in str(parsed.warnings)
    assert max(map(len, parsed.warnings)) < 130


def test_the_order_of_keys_does_not_matter():
    one, other = SigningKey("one", "ES256"), SigningKey("other", "ES256")

    assert keys_of(one, other, one) == keys_of(other, one)


def test_keys_with_one_kid_differ_by_their_material():
    jwk = {**SigningKey("other", "ES256").public_jwk, "kid": "one"}

    assert keys_of(SigningKey("one", "ES256")) != keys_of(jwk)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"keys"',
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": [], "keys": []}',
        b"\xff\xfe\xff",
        b"[" * 100_000,
    ],
)
def test_a_malformed_jwk_set_is_refused(document):
    with pytest.raises(JwksError):
        parse_jwks(document)


def test_too_many_keys_are_refused():
    with pytest.raises(JwksError, match="more than 100 keys"):
        parse_jwks(json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode())


def test_an_empty_set_is_valid_with_a_warning():
    parsed = parse_jwks(b'{"keys": []}')

    assert parsed == (frozenset(), ("it has no key that could verify a signature",))
