"""marshmallow schemas of query parameters."""

from service.resources.fields import ID_RULE, Flag, Number, Text, Word
from service.resources.schemas import WireSchema
from service.stores.record import ID

DEFAULT_EXPIRATION_SECONDS = 86_400
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 100, 1000


class SearchQuery(WireSchema):
    """The query parameters that select, sort and page a listing; ``_id`` is a comma-separated list.

    FHIR clients send ``_totalMethod`` and ``_elements``: the total is always exact, and elements are always complete.
    Source: https://hl7.org/fhir/search.html
    """

    ids = Text(
        rf"({ID.pattern})?(,({ID.pattern})?)*",
        f"must be ids with commas between them; each {ID_RULE}",
        visible=True,
        data_key="_id",
        metadata={"description": "The ids to return, with commas between them."},
    )
    count = Number(
        0,
        MAX_PAGE_SIZE,
        load_default=DEFAULT_PAGE_SIZE,
        data_key="_count",
        metadata={"description": "The size of a page. 0 asks for the total alone."},
    )
    page = Number(
        1, 10**9, load_default=1, data_key="_page", metadata={"description": "The number of the page, from 1."}
    )
    sort = Text(
        "-?_id",
        "must be _id or -_id",
        load_default="_id",
        data_key="_sort",
        metadata={"description": "The order: ascending or descending by id."},
    )
    summary = Word(
        "count", message="must be count", data_key="_summary", metadata={"description": "Asks for the total alone."}
    )
    total_method = Text(data_key="_totalMethod", metadata={"description": "Ignored: the total is exact."})
    elements = Text(data_key="_elements", metadata={"description": "Ignored: resources are complete."})


class IdQuery(WireSchema):
    """``_id``: a POST creates a resource only if none has this id; a PUT uses it if its body has no id."""

    id = Text(ID.pattern, ID_RULE, data_key="_id", metadata={"description": "The id of the resource."})


class DeleteQuery(WireSchema):
    """``_no-content``: a DELETE answers without the last resource."""

    no_content = Flag(
        data_key="_no-content", load_default=False, metadata={"description": "Answers 204, without the last resource."}
    )
