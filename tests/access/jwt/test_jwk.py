import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from issuer import SIGNERS, SigningKey, key_set

from service.access.jwt.jwk import ALGORITHMS, MAX_KEYS, KeySetError, read_key_set

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

OTHER_KINDS = [
    {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "X25519", "x": "AA"},
    {"kty": "OKP", "crv": "Ed448", "x": "AA"},
    {"kty": "EC"},
    {"kty": ["RSA"]},
    {"kty": None},
    {},
]


def keys_of(*entries):
    return read_key_set(key_set(*entries)).keys


@pytest.mark.parametrize(
    ("alg", "algorithms"),
    [("RS256", RSA), ("ES256", {"ES256"}), ("ES384", {"ES384"}), ("ES512", {"ES512"}), ("EdDSA", {"EdDSA"})],
)
def test_a_key_verifies_by_the_algorithms_of_its_kind(alg, algorithms):
    signing_key = SigningKey("k", alg)

    (key,) = keys_of(signing_key)

    assert (key.kid, key.algorithms) == ("k", algorithms)
    assert key.key.public_bytes_raw() if alg == "EdDSA" else key.key == signing_key.private.public_key()


def test_no_algorithm_takes_a_secret():
    assert not [alg for alg in ALGORITHMS if alg.startswith("HS") or alg == "none"]


def test_a_key_that_names_its_algorithm_is_for_that_one():
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
def test_a_key_for_anything_but_signatures_is_passed_over_in_silence(addition):
    contents = read_key_set(key_set({**SigningKey("other").public_jwk, **addition}, SigningKey()))

    assert [key.kid for key in contents.keys] == ["first"]
    assert not contents.complaints


@pytest.mark.parametrize("jwk", OTHER_KINDS)
def test_a_key_of_another_kind_is_passed_over_in_silence(jwk):
    contents = read_key_set(key_set(jwk, SigningKey()))

    assert [key.kid for key in contents.keys] == ["first"]
    assert not contents.complaints


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
def test_a_key_whose_private_part_is_known_is_not_believed(jwk):
    contents = read_key_set(key_set(jwk, SigningKey()))

    assert [key.kid for key in contents.keys] == ["first"]
    assert contents.complaints == ("key 'bad' is ignored, as it gives away its private part",)


def test_a_short_or_monstrous_rsa_key_is_not_believed():
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    short = SIGNERS["RS256"].to_jwk(weak.public_key(), as_dict=True)
    long = {**short, "n": "_" * 1366 + "w"}

    contents = read_key_set(key_set({**short, "kid": "s"}, {**long, "kid": "l"}))

    assert not contents.keys
    assert contents.complaints == (
        "key 'l' is ignored, as it is malformed",
        "key 's' is ignored, as it is not of 2048 to 8192 bits",
        "it has no key that could verify a signature",
    )


@pytest.mark.parametrize(
    "change",
    [{"n": None}, {"n": 5}, {"n": ""}, {"n": "!!!"}, {"e": "AQ"}, {"n": ["AQAB"]}, {"n": "A" * 100_000}, {"n": "é"}],
)
def test_a_malformed_key_is_told_of_and_the_others_serve(change):
    contents = read_key_set(key_set({**SigningKey("bad").public_jwk, **change}, SigningKey()))

    assert [key.kid for key in contents.keys] == ["first"]
    assert contents.complaints == ("key 'bad' is ignored, as it is malformed",)


def test_a_point_beside_its_curve_is_malformed():
    jwk = SigningKey("bad", "ES256").public_jwk
    other = SIGNERS["ES256"].to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)

    contents = read_key_set(key_set({**jwk, "y": other["y"]}))

    assert "key 'bad' is ignored, as it is malformed" in contents.complaints


def test_a_key_whose_name_is_no_string_is_told_of():
    contents = read_key_set(key_set({**SigningKey().public_jwk, "kid": 5}))

    assert "key '5' is ignored, as it has a kid that is no string" in contents.complaints


def test_complaints_quote_no_more_than_names():
    contents = read_key_set(key_set({"kid": "x" * 1000, "kty": "oct", "k": "hidden"}, "hidden", {"kid": 5}))

    assert "hidden" not in str(contents.complaints)
    assert max(map(len, contents.complaints)) < 130


def test_the_same_keys_in_another_order_are_the_same():
    one, other = SigningKey("one", "ES256"), SigningKey("other", "ES256")

    assert keys_of(one, other, one) == keys_of(other, one)


def test_another_key_under_the_same_name_is_another():
    jwk = {**SigningKey("other", "ES256").public_jwk, "kid": "one"}

    assert keys_of(SigningKey("one", "ES256")) != keys_of(jwk)


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"null", b"[]", b'"keys"', b"{}", b'{"keys": {}}', b'{"keys": null}', b"\xff\xfe\xff", b"[" * 100_000],
)
def test_what_is_no_jwk_set_is_refused(document):
    with pytest.raises(KeySetError):
        read_key_set(document)


def test_more_keys_than_a_loop_has_time_for_are_refused():
    with pytest.raises(KeySetError, match="more than 100 keys"):
        read_key_set(json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode())


def test_an_empty_set_is_one_and_complained_of():
    contents = read_key_set(b'{"keys": []}')

    assert contents == (frozenset(), ("it has no key that could verify a signature",))
