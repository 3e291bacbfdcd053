"""The limits of JSON do not depend on the interpreter."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.steps import steps_of

from service.json_text import MAX_DEPTH, MAX_NUMBER, is_too_deep, loads, replace_strings

TESTS = Path(__file__).parent

texts = st.text(st.sampled_from('[]{}"\\,:aé😀')) | st.text(st.characters(exclude_categories=["Cs"]))
trees = st.recursive(
    st.none() | st.integers(-(10**60), 10**60) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)


def depth_of(data):
    if isinstance(data, dict):
        return 1 + max(map(depth_of, data.values()), default=0)
    return 1 + max(map(depth_of, data), default=0) if isinstance(data, list) else 0


def nested(data, levels):
    for level in range(levels):
        data = [data, "["] if level % 2 else {"{": data}
    return data


@given(trees, st.integers(0, 20), st.booleans())
def test_json_is_parsed_up_to_the_maximum_depth(tree, levels, ensure_ascii):
    data = nested(tree, levels)
    document = json.dumps(data, ensure_ascii=ensure_ascii).encode()

    assert is_too_deep(document) is (depth_of(data) > MAX_DEPTH)
    if depth_of(data) <= MAX_DEPTH:
        assert loads(document) == data
    else:
        with pytest.raises(ValueError, match="nesting deeper than 16"):
            loads(document)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"]" * 100_000 + b"[" * 100_000,
        b"[" * 16 + b'"' + b'\\"' * 100_000,
        b"1" * (MAX_NUMBER + 1),
        b"-" + b"1" * MAX_NUMBER,
        b"0." + b"1" * MAX_NUMBER,
        b"1e" + b"0" * MAX_NUMBER,
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '"a"'.encode("utf-16"),
        b'{"a": 1, "a": 1}',
        rb'[{"b": {"a": 1, "\u0061": 2}}]',
    ],
    ids=lambda document: repr(document[:20]),
)
def test_invalid_or_oversized_json_is_a_value_error(document):
    with pytest.raises(ValueError):  # noqa: PT011 - messages differ
        loads(document)


@pytest.mark.parametrize("number", ["9" * MAX_NUMBER, "-" + "9" * (MAX_NUMBER - 1), "0." + "1" * (MAX_NUMBER - 2)])
def test_a_number_of_the_maximum_length_is_parsed(number):
    assert loads(number.encode()) == json.loads(number)


def test_the_depth_of_unbalanced_brackets_is_not_measured_further():
    assert not is_too_deep(b"]" + b"[" * 100)


@pytest.mark.parametrize("escape", [rb"\n", rb"\u6f22"])
def test_other_threads_run_while_strings_with_many_escapes_are_replaced(escape):
    text = b'"' + escape * (4000 // len(escape)) + b'"'
    replaced, lines = steps_of(partial(replace_strings, limit=2000), b",".join([text] * 1000), b"0")

    assert replaced == (b",".join([b"0"] * 1000), 1000)
    assert lines > 1000
    assert not is_too_deep(b",".join([b'{"a":' + text + b"}"] * 1000))


def test_a_byte_order_mark_is_ignored():
    assert loads(b"\xef\xbb\xbf[]") == []


# The outcome of every parser of the service for documents of growing depth, and for numbers of growing length.
OUTCOMES = """
import asyncio, json, sys, time
from issuer import SigningKey, key_set
from service.access.jwt.verifier import InvalidToken, JwtVerifier
from service.access.jwt.jwks import JwksProvider
from service.access.policies.matchers import scalar_text
from service.access.policies.matcho import MalformedPattern, compile_pattern
from service.access.jwt.jwk import JwksError, parse_jwks
from service.access.access_policy import ACCESS_POLICY
from service.errors import Invalid, MalformedBody
from service.stores.record import Resource
from service.web.formats.codec import load_json, load_yaml

KEY = SigningKey("first", "ES256")
PUBLISHED = json.loads(key_set(KEY))
DEPTHS = [1, 10, 14, 15, 16, 17, 18, 50, 90, 150, 400, 990, 1100, 3000]
LENGTHS = [1, 63, 64, 65, 639, 641, 4300, 4301, 9000]

def pattern(depth):
    made = "x"
    for _ in range(depth):
        made = {"params": made}
    return made

def token(claims):
    own = json.dumps({"iss": "i", "aud": "a", "iat": time.time(), "exp": 9e9})[:-1]
    return KEY.token(f'{own}, "x": {claims}}}'.encode())

def stored(depth):
    text = '{"params":' * depth + '"x"' + "}" * depth
    fields = {"engine": "matcho", "matcho": text}
    return ACCESS_POLICY.decode(Resource("AccessPolicy", "p", fields), fields)

async def outcomes(keys):
    verifier = JwtVerifier("i", "a", keys)
    for depth in DEPTHS:
        lists, objects = "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth
        for nested in (lists, objects):
            published = json.dumps(PUBLISHED)[:-1] + f', "x": {nested}}}'
            yield depth, [
                await tried(verifier.verify, token(nested)),
                plain(parse_jwks, published.encode()),
                plain(load_json, b'{"x": %s}' % nested.encode()),
                plain(load_yaml, b'{"x": %s}' % nested.encode()),
            ]
        yield depth, [plain(compile_pattern, pattern(depth)), plain(stored, depth)]
    for length in LENGTHS:
        number = "1" * length
        published = json.dumps(PUBLISHED)[:-1] + f', "x": {number}}}'
        yield length, [
            await tried(verifier.verify, token(number)),
            plain(parse_jwks, published.encode()),
            plain(load_json, b'{"x": %s}' % number.encode()),
            plain(load_yaml, b'{"x": %s}' % number.encode()),
            scalar_text(10**length),
        ]

REFUSALS = (InvalidToken, JwksError, MalformedBody, MalformedPattern, Invalid)

def plain(read, given):
    try:
        read(given)
    except REFUSALS as error:
        return type(error).__name__
    return "read"

async def tried(verify, given):
    try:
        await verify(given)
    except REFUSALS as error:
        return type(error).__name__
    return "read"

async def main():
    keys = JwksProvider.at(sys.argv[1])
    await keys.use(key_set(KEY))
    async for outcome in outcomes(keys):
        print(json.dumps(outcome))
    await keys.close()

sys.setrecursionlimit(int(sys.argv[2]))
asyncio.run(main())
"""


def outcomes_with(tmp_path, *, recursion, digits):
    return subprocess.run(
        [sys.executable, "-c", OUTCOMES, tmp_path / "jwks.json", str(recursion)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONINTMAXSTRDIGITS": str(digits)},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_limits_of_the_interpreter_change_no_outcome(tmp_path):
    usual = outcomes_with(tmp_path, recursion=1000, digits=4300)

    assert '[14, ["read", "read", "read", "read"]]' in usual
    assert '[15, ["read", "read"]]' in usual
    assert '[64, ["read", "read", "read", "read", ' in usual
    assert usual == outcomes_with(tmp_path, recursion=200, digits=640)
    assert usual == outcomes_with(tmp_path, recursion=20_000, digits=0)
