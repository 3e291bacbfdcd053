import pytest

from service.web.openapi.metadata import documented, metadata_of


class Handlers:
    @documented("read{kind}", "Read one", errors=(KeyError,))
    def read(self):
        """A handler of any type."""


def test_a_method_is_described_by_its_function():
    metadata = metadata_of(Handlers().read)

    assert (metadata.name, metadata.summary, metadata.errors) == ("read{kind}", "Read one", (KeyError,))


def test_a_handler_is_what_it_was():
    def handler():
        return 1

    assert documented("x", "X")(handler) is handler


def test_a_handler_of_which_nothing_is_said_is_told():
    with pytest.raises(KeyError):
        metadata_of(print)
