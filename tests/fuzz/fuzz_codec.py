"""Coverage-guided fuzzing of the codec: python tests/fuzz/fuzz_codec.py [-max_total_time=60] [-runs=100000] [corpus].

Whatever arrives is refused as malformed or read as independent parsers read it, soon, and survives a round trip.
Source of the flags: https://llvm.org/docs/LibFuzzer.html#options
"""

import contextlib
import json
import sys
import time
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.stderr.write("Fuzzing skipped: atheris is not installed; `pip install atheris` (Linux, CPython)\n")
    sys.exit(0)

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["service"]):
    from service.errors import MalformedBody
    from service.web.formats import codec

import yaml

SECONDS = 0.5
SEEDS = Path(__file__).parent / "seeds"
DEFAULTS = {"-max_total_time": "60", "-timeout": "10", "-rss_limit_mb": "1024", "-max_len": "4096"}


def fuzz(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    check_json(data)
    check_yaml(data)
    check_text(provider.ConsumeUnicodeNoSurrogates(64))


def check_json(body: bytes) -> None:
    read = loaded(codec.load_json, body)
    if read is not None:
        assert repr(read) == repr(json.loads(body.decode("utf-8-sig")))
        assert repr(codec.load_json(codec.dump_json(read))) == repr(read)


def check_yaml(body: bytes) -> None:
    read = loaded(codec.load_yaml, body)
    if read is not None:
        # libyaml's own loader refuses escapes of surrogate pairs.
        if b"\\ud" not in body.lower():
            # What we have read is shallow and free of aliases: safe for a loader that builds nodes.
            assert blurred(read) == blurred(yaml.load(body.decode("utf-8-sig"), Loader=yaml.CBaseLoader))  # noqa: S506
        assert codec.load_yaml(codec.dump_yaml(read)) == read


def check_text(text: str) -> None:
    data = {text: [text]}
    written = codec.dump_yaml(data)
    assert yaml.load(written, Loader=yaml.CSafeLoader) == data
    assert codec.load_yaml(written) == data
    assert codec.load_json(codec.dump_json(data)) == data


def loaded(load, body: bytes):
    """What a reader makes of a body; None if it refuses."""
    started = time.process_time()
    read = None
    with contextlib.suppress(MalformedBody):
        read = load(body)
    assert time.process_time() - started < SECONDS
    return read


def blurred(data):
    """Data without the difference between null and its spellings, which PyYAML's base loader does not know."""
    if isinstance(data, dict):
        return {key: blurred(value) for key, value in data.items()}
    if isinstance(data, list):
        return [blurred(item) for item in data]
    return None if data in {"", "~", "null"} else data


def main() -> None:
    given = {argument.partition("=")[0] for argument in sys.argv[1:]}
    if "-runs" in given:
        given.add("-max_total_time")
    defaults = [f"{flag}={value}" for flag, value in DEFAULTS.items() if flag not in given]
    # As inputs rather than as a corpus: a corpus is where libFuzzer leaves what it finds.
    seeds = ",".join(map(str, SEEDS.iterdir()))
    atheris.Setup([sys.argv[0], f"-seed_inputs={seeds}", *defaults, *sys.argv[1:]], fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
