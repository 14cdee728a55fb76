"""Digests of files."""

import hashlib

import pytest
from lid_mapmix.utils.digests import file_digest


def test_a_file_without_a_size_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "empty").touch()
    monkeypatch.setattr("lid_mapmix.utils.digests._digest", lambda path: pytest.fail(f"{path} was read"))
    assert file_digest(tmp_path / "empty") == hashlib.sha256().hexdigest()
