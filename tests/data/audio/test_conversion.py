"""Audio that libsndfile does not read: what it is called, and what ffmpeg is asked to do.

Where ffmpeg is not installed, a script stands in its place that writes down its arguments.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix.data.audio import conversion
from lid_mapmix.data.audio.faults import ForeignAudioError
from lid_mapmix.data.audio.reading import read_header
from lid_mapmix.inference.recording import Recording
from lid_mapmix.utils.errors import UserError

STARTS = {
    "a.m4a": b"\0\0\0\x20ftypM4A ",
    "b.mp3": b"\0\0\0\x20ftypM4A ",
    "c.webm": b"\x1a\x45\xdf\xa3",
    "d.amr": b"#!AMR\n",
    "e.aac": b"\xff\xf1\x50\x80",
    "f.wma": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a program named ffmpeg on PATH that copies `wav` to its last argument; return a function that makes it."""

    def make(ending):
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin/ffmpeg"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/arguments"\nfor last; do :; done\n{ending}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return make


@pytest.mark.parametrize("name", STARTS)
def test_without_ffmpeg_the_command_that_converts_is_named(tmp_path, monkeypatch, name):
    """An m4a named .mp3 "does not exist"."""
    monkeypatch.setenv("PATH", "")
    (tmp_path / name).write_bytes(STARTS[name] + bytes(2000))
    for read in (read_header, Recording.of_file):
        with pytest.raises(ForeignAudioError) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: expected audio that libsndfile can read, found ")
        assert str(caught.value).endswith(f"Convert it: ffmpeg -i {name} {name[0]}.wav")


def test_a_name_is_quoted_in_the_command():
    assert conversion.to_wav(Path("/x/a b;c.m4a")) == "Convert it: ffmpeg -i 'a b;c.m4a' 'a b;c.wav'"
    assert conversion.to_wav(Path("a.WAV")) == "Convert it: ffmpeg -i a.WAV a.wav"
    assert conversion.to_wav(Path("a.wav")) == "Convert it: ffmpeg -i a.wav a-converted.wav"
    assert conversion.to_wav(Path("a.tar#512+9")) == "Convert it to wav and pack again."


@pytest.mark.parametrize("name", ["-y.m4a", "http:example.m4a", "%03d?.m4a"])
def test_a_name_is_no_flag_and_no_address(tmp_path, monkeypatch, stand_in, name):
    soundfile.write(tmp_path / "decoded.wav", hum(1.0, 200, 1), 16_000)
    stand_in(f'cp "{tmp_path}/decoded.wav" "${{last#file:}}"')
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(STARTS["a.m4a"])
    recording = Recording.of_file(name)
    assert (recording.name, recording.samples, len(recording.read(100, 800))) == (name, 16_000, 800)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[arguments.index("-i") + 1] == f"file:{tmp_path / name}"
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file"
    decoded = Path(arguments[-1].removeprefix("file:"))
    assert decoded.exists()
    del recording
    assert not decoded.exists()


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("echo '[out @ 0x5] one' >&2; echo two >&2; exit 1", "one"),
        ("exit 1", "no message"),
        ("echo '[in/webm @ 0x5] File ended prematurely' >&2", "File ended prematurely"),
        ("exec sleep 60", "not decoded within 1 s"),
    ],
)
def test_what_ffmpeg_cannot_decode_is_one_line(tmp_path, monkeypatch, stand_in, ending, says):
    stand_in(ending)
    monkeypatch.setattr(conversion, "_TIMEOUT_SECONDS", 1)
    (tmp_path / "a.m4a").write_bytes(STARTS["a.m4a"])
    with pytest.raises(UserError) as caught:
        Recording.of_file(tmp_path / "a.m4a")
    assert f"a.m4a: expected audio that ffmpeg can decode, found other data ({says})" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_playlist_is_not_given_to_ffmpeg(tmp_path, stand_in):
    """It would name other files, or addresses."""
    stand_in("exit 0")
    (tmp_path / "a.m4a").write_text("#EXTM3U\n#EXTINF:3,\nhttp://localhost/a.wav\n")
    with pytest.raises(UserError, match="found other data"):
        Recording.of_file(tmp_path / "a.m4a")
    assert not (tmp_path / "arguments").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.mka", "a.mov", "a.mp4", "a.wma"])
def test_ffmpeg_decodes(tmp_path, name):
    soundfile.write(tmp_path / "a.wav", hum(2.0, 200, 1), 16_000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / name], check=True)
    recording = Recording.of_file(tmp_path / name)
    assert recording.samples == pytest.approx(32_000, abs=3000)
    assert len(recording.read(16_000, 8000)) == 8000
