import errno
import os
import sys
from pathlib import Path

import pytest
from lid_mapmix.apps.runs.launch import _explain
from lid_mapmix.utils.files import encodable_name, replace_when_complete, write_csv, write_text


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replace_when_complete(path) as temporary:
        temporary.write_text("after")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "after"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(error), replace_when_complete(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(FileNotFoundError), replace_when_complete(path):
        pass
    assert path.read_text() == "before"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_with_the_path(tmp_path):
    path = tmp_path / "datamap.csv"
    with pytest.raises(OSError) as caught, replace_when_complete(path), Path("/dev/full").open("w") as file:
        file.write("much")
    assert caught.value.errno == errno.ENOSPC
    assert _explain(caught.value) == f"{path}: no space left on the disk or in the quota. Free some and try again."
    assert not list(tmp_path.iterdir())


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with replace_when_complete(path) as one, replace_when_complete(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_names_keep_their_bytes_in_what_is_written(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_text(tmp_path / "one", name)
    assert (tmp_path / "one").read_bytes() == b"caf\xe9"
    (tmp_path / name).write_text("two")
    for path in (tmp_path / name, tmp_path / "one"):
        with encodable_name(path) as encodable:
            assert Path(encodable.encode().decode()).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("encoding", "remedy"), [("ascii", "set PYTHONUTF8=1"), ("utf-8", "Rename the file")])
def test_text_that_cannot_be_encoded_is_said_with_its_reason(encoding, remedy, monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    with pytest.raises(UnicodeEncodeError) as caught:
        "/data/caf\udce9/x.wav".encode()
    message = _explain(caught.value)
    assert message.startswith(r"'/data/caf\udce9/x.wav': expected text in UTF-8, found other characters. ")
    assert remedy in message


def test_a_csv_is_complete_or_absent(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ("id", "text"), [("a", 'one, "two"'), ("b", 3)])
    assert path.read_bytes() == b'id,text\na,"one, ""two"""\nb,3\n'
    with pytest.raises(ValueError, match="shorter"):
        write_csv(path, ("id",), zip(["c", "d"], ["e"], strict=True))
    assert path.read_bytes().endswith(b"b,3\n")
    assert list(tmp_path.iterdir()) == [path]
