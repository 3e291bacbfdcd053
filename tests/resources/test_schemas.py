import pytest

from service.errors import Invalid
from service.resources.account_schema import AwsAccountSchema
from service.resources.fields import MASKED
from service.resources.queries import DeleteQuery, SearchQuery
from service.resources.schemas import MAX_ISSUES, ParsedBody, Reader
from service.resources.signing_schemas.queries import SigningQuery
from service.resources.signing_schemas.uploads import UploadSchema

READER = Reader(AwsAccountSchema)
KEYS = {"access-key-id": "AKIA", "secret-access-key": "s"}


def read(values, *, text=False):
    return READER.read(ParsedBody({"id": "a", **values}, text), within="AwsAccount")


def faults(values, *, text=False):
    """Return the names of the invalid fields, without the kind."""
    with pytest.raises(Invalid) as refusal:
        read(values, text=text)
    return sorted(issue.expression.removeprefix("AwsAccount.") for issue in refusal.value.issues)


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "a"),
        ("id", "0"),
        ("id", "a" * 64),
        ("id", "A.b_c-"),
        ("region", "us-east-1"),
        ("region", "garage"),
        ("region", "a"),
        ("region", "1a"),
        ("region", "a" * 63),
        ("host", "minio"),
        ("host", "minio:9000"),
        ("host", "127.0.0.1:9000"),
        ("host", "[::1]:9000"),
        ("host", "https://minio.example:9000/a/b"),
        ("host", "http://minio"),
        ("session-token", "a" * 8192),
        ("session-token", "\u00e9/+="),
    ],
)
def test_a_valid_value_stays_unchanged(text, field, value):
    assert read({field: value}, text=text)[field] == value


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
@pytest.mark.parametrize("key", ["A", "A" * 256, "!\"#$%&'()*+-.:;<=>?@[\\]^_`{|}~0"])
@pytest.mark.parametrize("secret", ["s", "s" * 512, "wJalrXUtnFEMI/K7MDENG+x=", "\u00e9\U0001d11e"])
def test_valid_keys_stay_unchanged(text, key, secret):
    values = {"access-key-id": key, "secret-access-key": secret}

    assert read(values, text=text) == {"id": "a", **values}


INVALID = [
    ("id", ""),
    ("id", "-a"),
    ("id", ".a"),
    ("id", "_a"),
    ("id", "a" * 65),
    ("id", "a\n"),
    ("id", " a"),
    ("id", "a/b"),
    ("id", "a:b"),
    ("id", "\u00e4"),
    ("id", "\u0661"),
    ("access-key-id", ""),
    ("access-key-id", "a b"),
    ("access-key-id", "a,b"),
    ("access-key-id", "a/b"),
    ("access-key-id", "a\n"),
    ("access-key-id", "\x7f"),
    ("access-key-id", "\u00e4"),
    ("access-key-id", "a" * 257),
    ("secret-access-key", ""),
    ("secret-access-key", "a" * 513),
    ("secret-access-key", "a\n"),
    ("secret-access-key", "a\0"),
    ("secret-access-key", "\udcff"),
    ("session-token", "a" * 8193),
    ("session-token", "a\nb"),
    ("session-token", "\udcff"),
    ("region", ""),
    ("region", "US-EAST-1"),
    ("region", "-a"),
    ("region", "a-"),
    ("region", "a" * 64),
    ("region", "1234"),
    ("region", "a.b"),
    ("region", "a\n"),
    ("region", "fips-us-east-1"),
    ("region", "us-east-1-fips"),
    ("region", "aws-global"),
    ("region", "aws-us-gov-global"),
    ("host", ""),
    ("host", "my_minio:9000"),
    ("host", "h-"),
    ("host", "minio:0"),
    ("host", "minio:99999"),
    ("host", "minio:"),
    ("host", "minio:9000/prefix"),
    ("host", "http://u:p@minio"),
    ("host", "http://minio?x"),
    ("host", "http://minio#x"),
    ("host", "http://minio/../x"),
    ("host", "http://minio/a b"),
    ("host", "ftp://minio"),
    ("host", "m\u00fcnchen"),
    ("host", "[::1%eth0]"),
    ("host", "1.2.3"),
    ("host", "http://minio/" + "a" * 2048),
    ("host", "minio\n"),
    ("use-ssl", "yes"),
    ("use-ssl", "True"),
    ("use-ssl", ""),
    ("path-style", "1"),
    ("path-style", "on"),
    ("resourceType", "Client"),
    ("resourceType", ""),
]


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
@pytest.mark.parametrize(("field", "value"), INVALID, ids=lambda value: repr(value)[:40])
def test_an_invalid_value_is_refused_under_its_field(text, field, value):
    values = {**KEYS, field: value}

    assert faults(values, text=text) == [field]


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
@pytest.mark.parametrize("field", ["id", "access-key-id", "session-token", "region", "host", "resourceType"])
@pytest.mark.parametrize("value", [5, 1.5, True, [], ["a"], {}, {"a": "b"}], ids=repr)
def test_text_is_not_converted_from_other_types(text, field, value):
    assert faults({**KEYS, field: value}, text=text) == [field]


@pytest.mark.parametrize("field", ["use-ssl", "path-style"])
def test_a_flag_is_a_boolean_or_its_word_in_a_text_schema(field):
    assert [read({field: value})[field] for value in (True, False)] == [True, False]
    assert [read({field: value}, text=True)[field] for value in ("true", "false")] == [True, False]
    for value in ("true", "false", 1, 0, 1.0, [], {}):
        assert faults({field: value}) == [field]
    for value in ("TRUE", "yes", "on", "1", " true", "true\n", [], {}):
        assert faults({field: value}, text=True) == [field]


@pytest.mark.parametrize("given", KEYS)
def test_the_keys_are_required_together(given):
    (missing,) = KEYS.keys() - {given}

    assert faults({given: KEYS[given]}) == [missing]
    assert faults({given: KEYS[given], missing: None}) == [missing]


def test_a_masked_secret_satisfies_the_requirement_of_the_secret():
    values = {"access-key-id": "AKIA", "_secret-access-key": MASKED, "_session-token": MASKED}

    assert read(values) == {"id": "a", **values}


@pytest.mark.parametrize("field", ["_secret-access-key", "_session-token"])
@pytest.mark.parametrize("value", ["masked", {}, [MASKED], {**MASKED, "x": 1}, True], ids=repr)
def test_another_value_than_the_marker_is_refused(field, value):
    assert faults({"access-key-id": "AKIA", "secret-access-key": "s", field: value}) == [field]


@pytest.mark.parametrize("token", ["", " ", "   "])
def test_a_blank_token_is_dropped(token):
    assert read({**KEYS, "session-token": token}) == {"id": "a", **KEYS}


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
def test_null_is_absent(text):
    absent = dict.fromkeys(["access-key-id", "secret-access-key", "region", "host", "use-ssl", "meta", "resourceType"])

    assert read(absent, text=text) == {"id": "a"}


@pytest.mark.parametrize("value", ["x", None, {}], ids=repr)
def test_an_unknown_field_is_refused_even_if_it_is_null(value):
    assert faults({"path_style": value, "Region": value}) == ["Region", "path_style"]


def diagnostics(values, reader=READER, within="AwsAccount"):
    with pytest.raises(Invalid) as refusal:
        reader.read(ParsedBody(values, text=False), within=within)
    return [issue.diagnostics for issue in refusal.value.issues]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("path_style", "path-style"),
        ("pathStyle", "path-style"),
        ("path-stile", "path-style"),
        ("accessKeyId", "access-key-id"),
        ("ACCESS_KEY_ID", "access-key-id"),
        ("aws_access_key_id", "access-key-id"),
        ("secretAccessKey", "secret-access-key"),
        ("secret-acces-key", "secret-access-key"),
        ("_secretAccessKey", "_secret-access-key"),
        ("sessionToken", "session-token"),
        ("use_ssl", "use-ssl"),
        ("useSSL", "use-ssl"),
        ("Region", "region"),
        ("hosts", "host"),
        ("resource_type", "resourceType"),
    ],
)
def test_an_error_about_an_unknown_field_suggests_a_similar_one(name, meant):
    assert diagnostics({"id": "a", name: "x"}) == [f"AwsAccount.{name} is not known here; did you mean {meant}?"]


@pytest.mark.parametrize("name", ["nonsense", "x", "", "-", "path_style" * 10])
def test_a_field_without_similar_ones_gets_no_suggestion(name):
    (diagnostic,) = diagnostics({"id": "a", name: "x"})

    assert diagnostic.endswith(" is not known here")


@pytest.mark.parametrize("name", ["_id", "_format", "_pretty"])
def test_an_error_about_a_query_parameter_in_a_body_names_its_place(name):
    assert diagnostics({"id": "a", name: "x"}) == [
        f"AwsAccount.{name} is not known here; {name} is a query parameter: write ?{name}=... in the URL"
    ]


def test_an_error_about_an_expiration_in_an_upload_names_its_place():
    assert diagnostics({"filename": "k", "expiration": 60}, Reader(UploadSchema), "") == [
        "expiration is not known here; expiration is a query parameter: write ?expiration=... in the URL"
    ]
    assert diagnostics({"filename": "k", "fileName": "k"}, Reader(UploadSchema), "") == [
        "fileName is not known here; did you mean filename?"
    ]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("\u00a0host", "U+00A0 NO-BREAK SPACE; did you mean host?"),
        ("region\u200b", "U+200B ZERO WIDTH SPACE; did you mean region?"),
        ("non\tsense", "U+0009 TAB"),
        ("_id\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE; _id is a query parameter: write ?_id=... in the URL"),
    ],
)
def test_an_error_names_the_invisible_character_of_a_field_name(name, end):
    assert diagnostics({"id": "a", name: "x"}) == [f"AwsAccount.{name} is not known here; it has {end}"]


@pytest.mark.parametrize("value", ["true", "false", "yes"])
def test_an_error_about_a_quoted_boolean_in_json_mentions_the_quotes(value):
    assert diagnostics({"id": "a", "use-ssl": value}) == ["AwsAccount.use-ssl must be true or false, without quotes"]
    assert diagnostics({"id": "a", "use-ssl": 1}) == ["AwsAccount.use-ssl must be true or false"]


def test_an_error_about_a_quoted_number_in_json_mentions_the_quotes():
    with pytest.raises(Invalid, match=r"from 1 to 604800, without quotes$"):
        SigningQuery().read({"expiration": "60"})
    with pytest.raises(Invalid, match=r"from 1 to 604800$"):
        SigningQuery(text=True).read({"expiration": "6x"})


def test_only_the_first_unknown_fields_get_suggestions():
    messages = diagnostics({f"path_style{number}": 1 for number in range(20_000)})

    assert [diagnostic.endswith("did you mean path-style?") for diagnostic in messages] == [True] * 5 + [False] * 96


def test_the_issues_of_unknown_fields_are_in_the_order_of_the_body():
    names = [f"path_style{number}" for number in range(20)]
    messages = diagnostics({"id": "a", **dict.fromkeys(names, 1)})

    assert [message.split()[0] for message in messages] == [f"AwsAccount.{name}" for name in names]
    assert [message.endswith("did you mean path-style?") for message in messages] == [True] * 5 + [False] * 15


@pytest.mark.parametrize(("host", "agrees"), [("https://h", True), ("http://h", False), ("HTTPS://h", True)])
def test_a_scheme_and_use_ssl_must_agree(host, agrees):
    assert read({"host": host, "use-ssl": agrees})["use-ssl"] is agrees
    assert faults({"host": host, "use-ssl": not agrees}) == ["use-ssl"]
    assert "use-ssl" not in read({"host": host})


def test_a_host_without_a_scheme_agrees_with_either():
    assert read({"host": "h", "use-ssl": True})["use-ssl"] is True
    assert read({"host": "h", "use-ssl": False})["use-ssl"] is False


@pytest.mark.parametrize("region", ["RegionOne", "DE", "a_b", "123", "fips-x", "aws-global", "a" * 64])
def test_a_region_of_a_custom_host_is_any_name(region):
    assert read({"host": "minio", "region": region})["region"] == region
    assert read({"public-host": "minio", "region": region})["region"] == region
    assert faults({"region": region}) == ["region"]
    assert faults({"region": region, "host": None}) == ["region"]


@pytest.mark.parametrize("region", ["RegionOne", "eu-west-1a", "aws-global", "us-east-1-fips"])
@pytest.mark.parametrize("host", ["s3.amazonaws.com", "s3-accelerate.amazonaws.com"])
def test_a_region_of_s3s_own_host_is_one_of_aws(region, host):
    assert faults({"host": host, "region": region}) == ["region"]
    assert faults({"host": "minio", "public-host": host, "region": region}) == ["region"]


def test_two_hosts_of_s3_are_in_one_region():
    hosts = {"host": "s3.us-east-1.amazonaws.com", "public-host": "s3.eu-west-1.amazonaws.com"}

    assert faults(hosts) == ["host"]
    assert faults({**hosts, "region": "eu-west-1"}) == ["host"]
    assert read({**hosts, "host": "s3.amazonaws.com"})


def test_an_invalid_host_is_not_reported_as_an_invalid_region():
    assert faults({"host": "my_minio", "region": "RegionOne"}) == ["host"]


@pytest.mark.parametrize("region", ["a/b", "a b", "a,b", "a" * 65, "\u00e9", ""])
def test_a_region_of_a_custom_host_must_fit_into_a_credential_scope(region):
    assert faults({"host": "minio", "region": region}) == ["region"]


INVISIBLE = {
    " ": "U+0020 SPACE",
    "\u00a0": "U+00A0 NO-BREAK SPACE",
    "\u200b": "U+200B ZERO WIDTH SPACE",
    "\u200d": "U+200D ZERO WIDTH JOINER",
    "\ufeff": "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    "\u00ad": "U+00AD SOFT HYPHEN",
    "\u202e": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "\u3164": "U+3164 HANGUL FILLER",
    "\U000e0020": "U+E0020 TAG SPACE",
    "\t": "U+0009 TAB",
    "\n": "U+000A LINE FEED",
    "\r": "U+000D CARRIAGE RETURN",
    "\r\n": "U+000D CARRIAGE RETURN, U+000A LINE FEED",
    "\x85": "U+0085 NEXT LINE",
    "\u2028": "U+2028 LINE SEPARATOR",
    "\0": "U+0000 NULL",
    "\x1b": "U+001B CONTROL CHARACTER",
}


PASTED = [
    (field, characters, value)
    for field in ("id", "access-key-id", "secret-access-key", "session-token", "region", "host")
    for characters in INVISIBLE
    for value in ("{}s3cr3t", "s3cr3t{}", "s3c{}r3t")
    # A passphrase can have spaces inside.
    if (field, characters, value) != ("secret-access-key", " ", "s3c{}r3t")
]


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
@pytest.mark.parametrize(("field", "characters", "value"), PASTED)
def test_an_error_names_the_invisible_character_of_a_value(text, field, characters, value):
    names = INVISIBLE[characters]
    with pytest.raises(Invalid) as refusal:
        read({**KEYS, field: value.format(characters)}, text=text)

    (issue,) = refusal.value.issues
    assert issue.expression == f"AwsAccount.{field}"
    assert issue.diagnostics.endswith(f"; it has {names}")
    assert "s3c" not in issue.diagnostics


@pytest.mark.parametrize("field", ["access-key-id", "secret-access-key", "session-token", "region"])
@pytest.mark.parametrize("pasted", ['"s3c"', "'s3c'", "`s3c`"])
def test_a_key_or_region_in_quotes_is_refused(field, pasted):
    with pytest.raises(Invalid, match="in quotes") as refusal:
        read({**KEYS, "host": "s3.example.com", field: pasted})

    (issue,) = refusal.value.issues
    assert issue.expression == f"AwsAccount.{field}"
    assert "s3c" not in issue.diagnostics


@pytest.mark.parametrize("field", ["access-key-id", "secret-access-key", "session-token", "region"])
@pytest.mark.parametrize("placeholder", ["${s3c}", "$(s3c)", "{{s3c}}"])
def test_a_placeholder_for_a_key_or_region_is_refused(field, placeholder):
    with pytest.raises(Invalid, match=r"no placeholder such as \$\{NAME\}") as refusal:
        read({**KEYS, "host": "s3.example.com", field: placeholder})

    (issue,) = refusal.value.issues
    assert issue.expression == f"AwsAccount.{field}"
    assert "s3c" not in issue.diagnostics


@pytest.mark.parametrize("secret", ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"])
def test_an_access_key_id_in_place_of_the_secret_is_refused(secret):
    with pytest.raises(Invalid, match="no access key id of AWS") as refusal:
        read({"access-key-id": "wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKEY", "secret-access-key": secret})

    (issue,) = refusal.value.issues
    assert issue.expression == "AwsAccount.secret-access-key"
    assert secret not in issue.diagnostics


TEMPORARY = {"access-key-id": "ASIAIOSFODNN7EXAMPLE", "secret-access-key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}


@pytest.mark.parametrize("host", [None, "s3.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"])
@pytest.mark.parametrize("token", [None, "", " "])
def test_a_temporary_key_of_aws_needs_its_token(host, token):
    assert faults({**TEMPORARY, "host": host, "session-token": token}) == ["session-token"]


@pytest.mark.parametrize(
    "fields",
    [
        {"session-token": "FwoGZXIvYXdzE"},
        {"_session-token": MASKED},
        {"host": "localhost:4566"},
        {"host": "s3.amazonaws.com", "public-host": "localhost:4566"},
        {"access-key-id": "ASIA"},
        {"access-key-id": "AKIAIOSFODNN7EXAMPLE"},
    ],
    ids=repr,
)
def test_another_key_may_have_no_token(fields):
    assert read({**TEMPORARY, **fields})


@pytest.mark.parametrize("host", [None, "localhost:4566"])
def test_a_secret_in_place_of_the_token_is_refused(host):
    swapped = {"secret-access-key": "FwoGZXIvYXdzE" * 20, "session-token": TEMPORARY["secret-access-key"]}
    pasted = [{"session-token": TEMPORARY[name]} for name in ("access-key-id", "secret-access-key")]
    for fields in (swapped, *pasted, {**pasted[1], "access-key-id": "AKIAIOSFODNN7EXAMPLE"}):
        assert faults({**TEMPORARY, **fields, "host": host}) == ["session-token"]


@pytest.mark.parametrize("secret", ["AKIAIOSFODNN7EXAMPL", "AKIAIOSFODNN7EXAMPLE1", "xAKIAIOSFODNN7EXAMPLE", "AKIA"])
def test_a_secret_may_resemble_an_access_key_id(secret):
    assert read({**KEYS, "secret-access-key": secret})["secret-access-key"] == secret


@pytest.mark.parametrize("secret", ['"s3c', "s'3'c", '"s3c"x', '"'])
def test_a_secret_may_have_quotes_that_are_not_around_it(secret):
    assert read({**KEYS, "secret-access-key": secret})["secret-access-key"] == secret


def test_all_faults_are_reported_at_once():
    wrong = {
        "id": "-",
        "access-key-id": "a b",
        "region": "a b",
        "host": "a b",
        "use-ssl": 1,
        "path-style": "x",
        "session-token": 5,
        "resourceType": "X",
        "_secret-access-key": 1,
        "x": 1,
        "y": None,
    }

    assert faults(wrong) == sorted(wrong)
    assert faults({"access-key-id": "a b"}) == ["access-key-id", "secret-access-key"]


def test_a_message_is_a_sentence_that_begins_with_the_fields_name():
    with pytest.raises(Invalid) as refusal:
        read({"id": "-", "region": "-", "host": "a b", "use-ssl": 1, "x": 1, "access-key-id": "a"})

    for issue in refusal.value.issues:
        name, _, rest = issue.diagnostics.partition(" ")
        assert name == issue.expression
        assert rest.startswith(("must be ", "is "))


def test_no_message_quotes_a_value():
    with pytest.raises(Invalid) as refusal:
        read(
            {
                "access-key-id": "s3cr3t ",
                "secret-access-key": "s3cr3t\n",
                "host": "http://s3cr3t@h",
                "region": "s3cr3t\u00a0",
            }
        )

    assert len(refusal.value.issues) == 4
    assert "s3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("count", [MAX_ISSUES - 1, MAX_ISSUES, MAX_ISSUES + 1, MAX_ISSUES + 30, 20_000])
def test_the_number_of_issues_is_bounded(count):
    with pytest.raises(Invalid) as refusal:
        read({f"field{number}": 1 for number in range(count)})

    issues = refusal.value.issues
    assert len(issues) == min(count, MAX_ISSUES + 1)
    if count > MAX_ISSUES:
        assert issues[-1].diagnostics == f"And {count - MAX_ISSUES} more fields have faults"


def test_a_long_name_is_truncated():
    with pytest.raises(Invalid) as refusal:
        read({"x" * 1000: 1})

    (issue,) = refusal.value.issues
    assert len(issue.diagnostics) < 100


def test_meta_is_any_value():
    assert read({"meta": {"versionId": 5}})["meta"] == {"versionId": 5}


@pytest.mark.parametrize("text", ["1", "60", "604800"])
def test_an_expiration_is_valid(text):
    assert SigningQuery(text=True).read({"expiration": text}) == {"expiration": int(text)}


@pytest.mark.parametrize(
    "text", ["0", "604801", "", "-1", "+1", " 1", "1 ", "1\n", "1.0", "1e3", "1_0", "\u0661", "\u00b2", "9" * 5000]
)
def test_a_number_is_plain_digits_in_range(text):
    with pytest.raises(Invalid, match="expiration must be a whole number of seconds, from 1 to 604800"):
        SigningQuery(text=True).read({"expiration": text})


@pytest.mark.parametrize("number", ["060", "00", "000000000060"])
def test_a_number_in_text_has_no_zeros_in_front(number):
    """In JSON, such a number is malformed."""
    with pytest.raises(Invalid, match=r"max-expiration must be .*, without zeros in front"):
        read({"max-expiration": number}, text=True)
    with pytest.raises(Invalid, match=r"expiration must be .*, without zeros in front"):
        SigningQuery(text=True).read({"expiration": number})


@pytest.mark.parametrize("number", [60, 60.0])
def test_a_whole_number_in_json_can_have_a_decimal_point(number):
    assert SigningQuery().read({"expiration": number}) == {"expiration": 60}


@pytest.mark.parametrize("number", [60.5, float("nan"), float("inf"), 1e300, True])
def test_another_number_is_refused(number):
    with pytest.raises(Invalid, match="expiration must be a whole number"):
        SigningQuery().read({"expiration": number})


def test_queries_have_defaults():
    assert SigningQuery(text=True).read({}) == {}
    assert SearchQuery(text=True).read({}) == {"_count": 100, "_page": 1, "_sort": "_id"}
    assert DeleteQuery(text=True).read({}) == {"_no-content": False}


@pytest.mark.parametrize("filename", [None, 5, [], {}, True], ids=repr)
def test_an_upload_needs_a_filename_of_text(filename):
    with pytest.raises(Invalid, match=r"^filename (is missing|must be a string)$"):
        UploadSchema().read({"filename": filename})


def test_a_repr_of_a_body_holds_no_values():
    document = ParsedBody({"secret-access-key": "s3cr3t"}, text=True).with_id("a")

    assert repr(document) == "ParsedBody(text=True)"


def test_a_secret_may_have_spaces_inside_but_not_at_an_end():
    fields = {"id": "a", "access-key-id": "AKIA"}
    secret = "correct horse battery"

    assert AwsAccountSchema().read({**fields, "secret-access-key": secret})["secret-access-key"] == secret
    for pasted in (f" {secret}", f"{secret} ", " "):
        with pytest.raises(Invalid, match=r"U\+0020 SPACE"):
            AwsAccountSchema().read({**fields, "secret-access-key": pasted})
