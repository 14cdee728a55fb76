"""Audio below a folder: by its name, in order, and never passed over in silence."""

import errno
import os

import pytest
from lid_mapmix.data.audio_files import audio_below
from lid_mapmix.errors import UserError


def test_audio_of_any_depth_and_nothing_else(tmp_path):
    (tmp_path / "b/c").mkdir(parents=True)
    for name in ("b/c/1.FLAC", "a.wav", "b/._1.wav", "b/notes.txt", "b/1.sph", "b/2.opus"):
        (tmp_path / name).touch()
    assert audio_below(tmp_path) == [tmp_path / name for name in ("a.wav", "b/1.sph", "b/2.opus", "b/c/1.FLAC")]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        audio_below(tmp_path)
