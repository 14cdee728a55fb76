"""Audio that libsndfile does not read: recognising it, naming the command that converts it, reading it with ffmpeg.

Only ``lid-mapmix predict`` reads such files. For training they are converted once, not each time a crop is read.
"""

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from ...utils.errors import UserError
from .shards import find_member

# Usual endings; a file is recognised by its first bytes.
FOREIGN_EXTENSIONS = (".m4a", ".aac", ".webm", ".mp4", ".amr", ".wma", ".mka", ".mkv", ".mov", ".3gp")
_SIGNATURES = (
    (4, b"ftyp", "MPEG-4 (m4a, mp4)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska (webm, mka)"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF (wma)"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
)
# ffmpeg's demuxers of these. Playlists are not among them: they name other files.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,amr,amrnb,amrwb,aac"
_TIMEOUT_SECONDS = 1800
_MESSAGE = re.compile(r"^(?:\[.*?\] )?(.+)", re.MULTILINE)
_TRUNCATION = re.compile(r"(File ended prematurely|partial file)")
# A WAV file has at most 4 GiB.
_MAX_BYTES = 2**32 - 2**20


def foreign_container(start: bytes) -> str | None:
    """Return the container of audio that libsndfile does not read, from its first bytes; None if it is not known."""
    return next((name for at, signature, name in _SIGNATURES if start[at:].startswith(signature)), None)


def to_wav(path: Path, flags: str = "") -> str:
    """Return the sentence that names the command by which a file is converted to WAV."""
    if find_member(path) is not None:
        return "Convert it to wav and pack again."
    target = path.with_suffix(".wav").name
    if target == path.name:
        target = f"{path.stem}-converted.wav"
    return f"Convert it: ffmpeg {flags}-i {shlex.quote(path.name)} {shlex.quote(target)}"


def decode(path: Path) -> "tempfile._TemporaryFileWrapper[bytes] | None":
    """Decode a file with ffmpeg to a temporary WAV file, deleted when it is closed; None if no ffmpeg is on PATH.

    ffmpeg opens no network connection and no other file, whatever the file contains.

    Raises UserError: ffmpeg cannot decode it, takes too long, or the audio has more than 4 GiB.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return None
    target = tempfile.NamedTemporaryFile(prefix="lid_mapmix-", suffix=".wav")  # noqa: SIM115 - the caller closes it
    # With "file:" and the absolute path, a name is never read as a flag, a URL or a pattern.
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS]
    command += ["-i", f"file:{path.absolute()}", "-vn", "-sn", "-dn", "-c:a", "pcm_s16le", "-fs", str(_MAX_BYTES)]
    try:
        done = subprocess.run(
            [*command, f"file:{target.name}"], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        # The first message is the cause; with status 0, that only the beginning could be decoded.
        said = _MESSAGE if done.returncode else _TRUNCATION
        found = said.search(done.stderr.decode(errors="replace"))
        failure = found[1] if found else "no message" if done.returncode else None
    except subprocess.TimeoutExpired:
        failure = f"not decoded within {_TIMEOUT_SECONDS} s"
    except OSError as error:
        failure = str(error.strerror)
    if failure is None and Path(target.name).stat().st_size > _MAX_BYTES - 2**20:
        failure = "more than 4 GiB as WAV"
    if failure is not None:
        target.close()
        raise UserError(
            f"{path}: expected audio that ffmpeg can decode, found other data ({failure}). Restore the file."
        )
    return target
