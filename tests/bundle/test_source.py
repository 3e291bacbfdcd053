"""A bundle's file is read with the files and variables that it refers to, and with no others."""

import os

import pytest
from support.bundles import account, text
from support.volumes import Volume

from service.bundle.document import BundleError
from service.bundle.source import MAX_BYTES, MAX_REFERRED_BYTES, BundleFile
from service.mounted_files import UnusableFile


def bundle_of(reference):
    return text(account("a", host=reference))


def loaded(directory, reference, **environ):
    """Return the text that a reference stands for."""
    (directory / "bundle.json").write_text(bundle_of(reference))
    file = BundleFile(directory / "bundle.json", environ)
    (entry,) = file.entries(file.read())
    return entry.body.values["host"]


def fault(directory, reference, **environ):
    with pytest.raises(BundleError) as refusal:
        loaded(directory, reference, **environ)
    (found,) = refusal.value.faults
    return found


@pytest.mark.parametrize("content", ["s3", "s3\n", "s3\r\n", " s3 \n\n"])
def test_a_file_stands_for_its_text_without_the_space_around_it(tmp_path, content):
    (tmp_path / "host").write_text(content)

    assert loaded(tmp_path, {"$file": "host"}) == "s3"


def test_a_file_may_be_in_a_directory_below(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "host").write_text("s3")

    assert loaded(tmp_path, {"$file": "below/host"}) == "s3"


def test_the_files_of_a_volume_are_read_and_their_changes_are_new_contents(tmp_path):
    bundle = bundle_of({"$file": "host"})
    volume = Volume(tmp_path, **{"bundle.json": bundle, "host": "first"})
    file = BundleFile(volume / "bundle.json", {})
    first = file.read()
    volume.update({"bundle.json": bundle, "host": "second"})
    second = file.read()

    assert first != second
    assert [file.entries(contents)[0].body.values["host"] for contents in (first, second)] == ["first", "second"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "link", "below/../../outside", ".", ""])
def test_no_path_leaves_the_directory(tmp_path, name):
    (tmp_path / "outside").write_text("a text that nobody may read")
    directory = tmp_path / "directory"
    (directory / "below").mkdir(parents=True)
    (directory / "link").symlink_to("../outside")
    found = fault(directory, {"$file": name})

    assert "cannot be read" in found
    assert "nobody" not in found


@pytest.mark.parametrize("made", ["pipe", "directory", "missing", "empty", "large", "binary", "loop"])
def test_only_a_small_regular_file_of_text_is_read(tmp_path, made):
    match made:
        case "pipe":
            os.mkfifo(tmp_path / "host")
        case "directory":
            (tmp_path / "host").mkdir()
        case "empty":
            (tmp_path / "host").write_text("\n")
        case "large":
            (tmp_path / "host").write_text("x" * (MAX_REFERRED_BYTES + 1))
        case "binary":
            (tmp_path / "host").write_bytes(b"\xff")
        case "loop":
            (tmp_path / "host").symlink_to("host")

    assert fault(tmp_path, {"$file": "host"}).startswith("entry[0] (AwsAccount/a): $file 'host' cannot be read: ")


def test_a_variable_stands_for_its_text(tmp_path):
    assert loaded(tmp_path, {"$env": "S3_HOST"}, S3_HOST=" s3 ") == "s3"


@pytest.mark.parametrize("environ", [{}, {"S3_HOST": " "}])
def test_a_variable_that_is_not_set_is_a_fault(tmp_path, environ):
    assert "$env 'S3_HOST' names an environment variable that is not set" in fault(
        tmp_path, {"$env": "S3_HOST"}, **environ
    )


def test_a_bundle_has_a_largest_size(tmp_path):
    (tmp_path / "bundle.json").write_text(text() + " " * MAX_BYTES)

    with pytest.raises(UnusableFile, match="larger than"):
        BundleFile(tmp_path / "bundle.json", {}).read()


def test_a_bundle_is_parsed_once_while_it_does_not_change(tmp_path, monkeypatch):
    parsed = []
    monkeypatch.setattr("service.bundle.document.parse", lambda content: parsed.append(content) or _fail())

    def _fail():
        raise BundleError(["it is bad"])

    (tmp_path / "bundle.json").write_text("bad")
    file = BundleFile(tmp_path / "bundle.json", {})
    contents = [file.read() for _ in range(3)]
    for _ in range(2):
        with pytest.raises(BundleError):
            file.entries(contents[0])

    assert (len(parsed), contents[0] == contents[2]) == (1, True)


def test_the_contents_do_not_show_their_secrets(tmp_path):
    (tmp_path / "host").write_text("a text that nobody may read")
    (tmp_path / "bundle.json").write_text(bundle_of({"$file": "host"}))

    assert "nobody" not in repr(BundleFile(tmp_path / "bundle.json", {}).read())
