"""Audio below a folder: by its name, in order, and never passed over in silence."""

import errno
import os
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile
from lid_mapmix.data.audio.folders import EXTENSIONS, audio_below, describe_left_out, listing_digest
from lid_mapmix.data.audio.reading import read_audio
from lid_mapmix.utils.errors import UserError


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


def test_a_listing_is_known_by_names_and_sizes_wherever_it_lies(tmp_path):
    (tmp_path / "one/deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.flac", "README"):
        (tmp_path / "one" / name).write_bytes(b"1")
    digest = listing_digest(tmp_path / "one")
    assert listing_digest(shutil.copytree(tmp_path / "one", tmp_path / "two")) == digest
    changes = {"README": b"22", "a.wav": b"22", "c.wav": b"1"}
    found = []
    for name, content in changes.items():
        (tmp_path / "two" / name).write_bytes(content)
        found.append(listing_digest(tmp_path / "two"))
    (tmp_path / "two/a.wav").rename(tmp_path / "two/d.wav")
    found.append(listing_digest(tmp_path / "two"))
    assert found[0] == digest
    assert len(set(found)) == 4


def test_links_are_followed_and_end_nowhere(tmp_path):
    """A folder of links to corpora of noise, as clusters have them, held nothing."""
    for folder in ("musan/deep", "demand", "sounds"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.wav").touch()
    (tmp_path / "sounds/musan").symlink_to(tmp_path / "musan")
    (tmp_path / "sounds/demand").symlink_to(tmp_path / "demand")
    (tmp_path / "sounds/once more").symlink_to(tmp_path / "musan")
    (tmp_path / "musan/deep/round").symlink_to(tmp_path / "sounds")
    (tmp_path / "sounds/gone").symlink_to(tmp_path / "gone")
    found = [path.relative_to(tmp_path / "sounds").as_posix() for path in audio_below(tmp_path / "sounds")]
    assert found == ["a.wav", "demand/a.wav", "musan/deep/a.wav"]


def test_whatever_libsndfile_writes_is_audio(tmp_path):
    """aiff, au, w64 and oga were read when they were named, and passed over in a folder."""
    usual = {"AIFF": "aiff", "NIST": "sph", "SVX": "svx", "WAVEX": "wav", "IRCAM": "sf", "OGG": "oga"}
    # Matrices, features, instruments, samplers, formats without a header.
    unusual = {"MAT4", "MAT5", "HTK", "XI", "SDS", "MPC2K", "WVE", "SD2", "RAW"}
    for form in soundfile.available_formats().keys() - unusual:
        path = tmp_path / f"{form}.{usual.get(form, form.lower())}"
        soundfile.write(path, np.full(8000, 0.1), 8_000, format=form)
        assert path.suffix in EXTENSIONS
        assert len(read_audio(path)) == 16_000
    assert len(audio_below(tmp_path)) == len(soundfile.available_formats()) - len(unusual)


def test_what_is_left_out_is_counted_by_extension(tmp_path):
    for name in ("a.wav", "b.m4a", "c.M4A", "d.txt", "README", ".hidden", "._b.wav"):
        (tmp_path / name).touch()
    left_out = Counter()
    assert audio_below(tmp_path, left_out=left_out) == [tmp_path / "a.wav"]
    assert left_out == {".m4a": 2, ".txt": 1, "": 1}
    assert sorted(describe_left_out(left_out).split(", ")) == ["1 .txt", "1 without an extension", "2 .m4a"]
