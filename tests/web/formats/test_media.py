"""Media types: the format of a body by its Content-Type, and the type of a response by negotiation."""

import pytest
from support.steps import steps_of

from service.errors import NotAcceptable, UnsupportedMediaType
from service.web.formats import media
from service.web.formats.media import body_format, response_type

JSON, YAML = "application/json", "text/yaml"


# The names of UTF-8 and US-ASCII at https://www.iana.org/assignments/character-sets/
IANA = [
    *("UTF-8", "csUTF8", "US-ASCII", "iso-ir-6", "ANSI_X3.4-1968", "ANSI_X3.4-1986", "ISO_646.irv:1991", "ISO646-US"),
    *("us", "IBM367", "cp367", "csASCII"),
]


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", "json"),
        ("application/fhir+json", "json"),
        ("application/json+fhir", "json"),
        ("application/merge-patch+json", "json"),
        ("text/yaml", "yaml"),
        ("application/yaml", "yaml"),
        ("application/x-yaml", "yaml"),
        ("text/x-yaml", "yaml"),
        ("Application/JSON", "json"),
        (" text/yaml ;charset=utf-8", "yaml"),
        ("application/json; charset=UTF-8", "json"),
        ('application/json; Charset = "Utf-8"', "json"),
        ("application/json; charset=utf8", "json"),
        ("application/json; charset=", "json"),
        ('text/yaml; charset=""', "yaml"),
        ("text/yaml; charset=csUTF8", "yaml"),
        ("text/yaml; charset=ANSI_X3.4-1968", "yaml"),
        ("application/json;charset=UTF8", "json"),
        ('text/yaml; charset="utf8"', "yaml"),
        ("text/yaml; charset=us-ascii", "yaml"),
        ('application/json; CHARSET="US-ASCII"', "json"),
        ("application/yaml;charset=ASCII", "yaml"),
        ("application/merge-patch+json; charset=ascii", "json"),
        ("application/fhir+json; fhirVersion=4.0", "json"),
        ("application/fhir+json; fhirVersion=4.0; charset=utf-8", "json"),
        ("application/json;", "json"),
        *((f"application/json; charset={name}", "json") for name in IANA),
        ("application/json" + " " * 8000, "json"),
    ],
)
def test_the_content_type_determines_the_format(content_type, form):
    assert body_format(content_type) == form


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "",
            ";",
            "json",
            "text/plain",
            "text/html",
            "application/xml",
            "application/jsonp",
            "application/json, text/yaml",
        ),
        *(
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/vnd.api+json",
            "*/*",
            "application/*",
        ),
        *(
            "application/json; charset=latin1",
            'text/yaml; charset="utf-16"',
        ),
        *("application/json; charset=utf-8x", "text/yaml; x=y; charset=cp1252", "x" * 8000),
        *("application/json; charset=utf 8", "application/json; charset=utf-16", "text/yaml; charset=utf-7"),
        *("application/json; charset=ascii-8bit", "text/yaml; charset=iso-8859-1", 'text/yaml; charset="utf8'),
    ],
)
def test_another_type_or_charset_is_refused_with_the_header_to_send(content_type):
    with pytest.raises(UnsupportedMediaType, match="Content-Type: application/json or Content-Type: text/yaml"):
        body_format(content_type)


def test_a_refused_charset_is_named_in_the_message():
    with pytest.raises(UnsupportedMediaType, match="in UTF-8"):
        body_format("application/json; charset=latin1")


@pytest.mark.parametrize(
    "content_type", [media.FORM, f"{media.FORM};charset=UTF-8", " Application/X-WWW-Form-Urlencoded "]
)
def test_a_form_is_accepted_where_the_route_supports_it(content_type):
    assert body_format(content_type, takes_form=True) == "form"
    assert body_format("text/yaml", takes_form=True) == "yaml"
    with pytest.raises(UnsupportedMediaType):
        body_format(content_type)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "", f"{media.FORM}; charset=latin1", "text/yaml; charset=latin1"]
)
def test_the_advice_names_forms_where_the_route_supports_them(content_type):
    with pytest.raises(UnsupportedMediaType, match=f"Content-Type: {media.FORM}, application/json or text/yaml"):
        body_format(content_type, takes_form=True)


@pytest.mark.parametrize(
    ("format_parameter", "accept", "body_type", "expected"),
    [
        pytest.param(None, None, None, JSON, id="JSON by default"),
        pytest.param(None, None, YAML, YAML, id="the body's type"),
        pytest.param(None, None, "Application/X-YAML; charset=utf-8", "application/x-yaml", id="as the body spells it"),
        pytest.param(None, None, "application/fhir+json", "application/fhir+json", id="FHIR as the body"),
        pytest.param(None, None, "application/merge-patch+json", JSON, id="a merge patch is answered as JSON"),
        pytest.param(None, None, "text/plain", JSON, id="a body of no known type"),
        pytest.param(None, "*/*", YAML, YAML, id="anything is the body's type"),
        pytest.param(None, "*/*", None, JSON, id="anything is JSON without a body"),
        pytest.param(None, "", YAML, YAML, id="an empty Accept is none"),
        pytest.param(None, "garbage, ;q=1, /, a/b/c", YAML, YAML, id="nothing but malformed pieces is none"),
        pytest.param(None, "text/yaml", JSON, YAML, id="Accept beats the body"),
        pytest.param(None, "Application/FHIR+JSON", YAML, "application/fhir+json", id="FHIR, in any case"),
        pytest.param(
            None, "application/fhir+json; fhirVersion=4.0", None, "application/fhir+json", id="parameters are ignored"
        ),
        pytest.param(None, "text/yaml;charset=x", None, YAML, id="charset is ignored"),
        pytest.param(None, "application/*", YAML, JSON, id="application of any kind"),
        pytest.param(None, "text/*", None, YAML, id="text of any kind"),
        pytest.param(None, "text/*", "text/x-yaml", "text/x-yaml", id="text of any kind, for such a body"),
        pytest.param(None, "application/*", "application/yaml", "application/yaml", id="application, for such a body"),
        pytest.param(None, "application/json;q=0.5, text/yaml", None, YAML, id="the higher quality"),
        pytest.param(None, "application/json;q=0.5, text/yaml;q=0.4", YAML, JSON, id="the higher of two"),
        pytest.param(None, "application/json ; Q = 0.1 , text/yaml ; q=0.2", None, YAML, id="blanks and case"),
        pytest.param(
            None, "application/json;a=b;q=0.1, text/yaml;q=0.2;ext=1", None, YAML, id="quality among parameters"
        ),
        pytest.param(None, "application/yaml, application/json", None, "application/yaml", id="the first of equals"),
        pytest.param(None, "application/json, text/plain, */*", YAML, JSON, id="axios: named beats anything"),
        pytest.param(
            None, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", YAML, YAML, id="a browser"
        ),
        pytest.param(None, "*/*, application/json", YAML, JSON, id="named beats anything that comes first"),
        pytest.param(None, "text/yaml, application/json;q=0.5, text/yaml;q=0.1", None, YAML, id="named twice"),
        pytest.param(None, "text/html, image/gif, *; q=.2, */*; q=.2", None, JSON, id="Java"),
        pytest.param(None, "*/*, application/json;q=0", None, YAML, id="an exclusion beats a wildcard"),
        pytest.param(None, "application/*;q=0, */*;q=0.1", JSON, YAML, id="a wildcard excluded"),
        pytest.param(
            None, "application/*;q=0.1, application/json;q=0.9, text/yaml;q=0.5", None, JSON, id="the exact one counts"
        ),
        pytest.param(None, "*/*;q=0.9, application/json;q=0.1", JSON, YAML, id="the exact one counts against it"),
        pytest.param(None, "text/yaml;q=2, application/json;q=0.1", None, JSON, id="a malformed quality is ignored"),
        pytest.param(None, "text/yaml;q=x, application/json;q=0.1", None, JSON, id="a quality that is no number"),
        pytest.param(
            None, "text/yaml;q=nan, application/json;q=0.1", None, JSON, id="a quality that only Python reads"
        ),
        pytest.param(None, 'text/html;x="a,b", text/yaml', None, YAML, id="a comma in quotes"),
        pytest.param(None, "text/yaml" + " " * 8000, None, YAML, id="a long header"),
        pytest.param(None, "text/yaml" + ",a/b" * 100_000, None, YAML, id="many pieces"),
        pytest.param("json", YAML, YAML, JSON, id="_format beats all"),
        pytest.param("yaml", JSON, JSON, YAML, id="_format=yaml"),
        pytest.param("YAML", None, None, YAML, id="_format in capitals"),
        pytest.param("application/fhir+json", YAML, None, "application/fhir+json", id="_format as a type"),
        pytest.param(
            "application/fhir json", YAML, None, "application/fhir+json", id="_format with a + that became a space"
        ),
        pytest.param(
            "application/x-yaml; charset=utf-8", None, None, "application/x-yaml", id="_format with a parameter"
        ),
    ],
)
def test_the_response_has_the_negotiated_type(format_parameter, accept, body_type, expected):
    answer = response_type(format_parameter, accept, body_type)

    assert answer.content_type == f"{expected}; charset=utf-8"
    assert answer.format == ("yaml" if "yaml" in expected else "json")


@pytest.mark.parametrize(
    ("format_parameter", "accept"),
    [
        *(
            (None, accept)
            for accept in ("text/html", "image/*", "*/*;q=0", "application/json;q=0", "application/merge-patch+json")
        ),
        *((None, accept) for accept in ("text/html, a", "text/html;q=0.9,image/*", "text/html" + " " * 8000)),
        *(
            (form, "*/*")
            for form in (
                "",
                "xml",
                "application/xml",
                "*/*",
                "application/merge-patch+json",
                "html",
                "json yaml",
                "x" * 8000,
            )
        ),
    ],
)
def test_a_406_lists_the_supported_types(format_parameter, accept):
    with pytest.raises(NotAcceptable, match="application/json, text/yaml"):
        response_type(format_parameter, accept, JSON)


def test_types_by_default_name_their_format():
    for form, content_type in media.DEFAULT_TYPES.items():
        assert body_format(content_type) == form
        assert response_type(form, None, None) == response_type(None, content_type, None)


def test_the_cache_of_headers_is_bounded():
    for number in range(200):
        body_format(f"text/yaml; x={number}")
        response_type(None, f"*/*; x={number}", f"text/yaml; x={number}")

    assert [cached.cache_info().currsize for cached in (body_format, response_type)] == [64, 64]


def test_ranges_after_the_64th_are_ignored():
    assert response_type(None, "a/b," * 63 + YAML, None).format == "yaml"
    with pytest.raises(NotAcceptable):
        response_type(None, "a/b," * 64 + YAML, None)


@pytest.mark.parametrize("parameter", [";", ";a=b", "; ", " ;", ";q", ";q "])
def test_a_range_may_have_thousands_of_parameters(parameter):
    answer = steps_of(response_type.__wrapped__, None, f"{YAML}{parameter * (30_000 // len(parameter))}", None)

    assert answer.result.format == ("json" if "q" in parameter else "yaml")
    assert answer.lines < 300


def test_text_after_the_64th_range_is_not_part_of_it():
    assert response_type(None, "a/b," * 63 + f"{YAML},a/b,a/b", None).format == "yaml"
