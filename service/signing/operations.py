"""The operations that can be signed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """``name`` is botocore's client method, ``method`` the HTTP method of the URL.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
    """

    name: str
    method: str


GET_OBJECT = Operation("get_object", "GET")
PUT_OBJECT = Operation("put_object", "PUT")
DELETE_OBJECT = Operation("delete_object", "DELETE")
