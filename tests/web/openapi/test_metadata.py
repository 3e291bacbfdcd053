import pytest

from service.web.openapi.metadata import documented, metadata_of


class Handlers:
    @documented("read{kind}", "Read one", errors=(KeyError,))
    def read(self):
        """A handler of any resource type."""


def test_a_bound_method_has_the_metadata_of_its_function():
    metadata = metadata_of(Handlers().read)

    assert (metadata.name, metadata.summary, metadata.errors) == ("read{kind}", "Read one", (KeyError,))


def test_the_decorator_returns_the_handler_itself():
    def handler():
        return 1

    assert documented("x", "X")(handler) is handler


def test_a_handler_without_metadata_is_a_key_error():
    with pytest.raises(KeyError):
        metadata_of(print)
