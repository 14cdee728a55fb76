"""Audio inside tar shards is the audio of files of its own, and what is wrong with a shard is one line."""

import gzip
import io
import lzma
import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum, write_sphere_ulaw
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.audio import reading, shards
from lid_mapmix.data.audio.reading import SAMPLE_RATE, read_audio, read_header
from lid_mapmix.utils.errors import UserError

SECONDS = 1.3
# A big flac has more bytes than are read at once.
LOOSE = {
    "16000.wav": {"subtype": "PCM_16"},
    "44100.wav": {"subtype": "PCM_24"},
    "float.wav": {"subtype": "FLOAT"},
    "ulaw.wav": {"subtype": "ULAW"},
    "big.wav": {"subtype": "PCM_16"},
    "rf64.wav": {"subtype": "PCM_16", "format": "RF64"},
    "a.flac": {"subtype": "PCM_16"},
    "big.flac": {"subtype": "PCM_24"},
    "a.ogg": {"subtype": "VORBIS"},
    "a.mp3": {"subtype": "MPEG_LAYER_III"},
    "a.aiff": {"subtype": "PCM_16"},
    "linear.sph": {"subtype": "PCM_16", "format": "NIST"},
}
RATES = {"44100.wav": 44_100, "a.mp3": 44_100, "ulaw.wav": 8_000, "linear.sph": 8_000}
BIG_SECONDS = 20.0


def write_tar(path, contents, tar_format=tarfile.USTAR_FORMAT):
    """Write a tar of name → bytes, and return name → path of the member, found by reading the tar again."""
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    with tarfile.open(path) as tar:
        return {member.name: path.with_name(f"{path.name}#{member.offset_data}+{member.size}") for member in tar}


def wav_bytes(audio, **form):
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format="WAV", **form)
    return file.getvalue()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Return name → (path of the file, path of the member)."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, form in LOOSE.items():
        rate = RATES.get(name, SAMPLE_RATE)
        seconds = BIG_SECONDS if name.startswith("big") else SECONDS
        audio = hum(seconds, 200, 1, rate)
        soundfile.write(folder / name, np.stack([audio, audio[::-1]], axis=1) if "big" in name else audio, rate, **form)
    write_sphere_ulaw(folder / "ulaw.sph", bytes(range(256)) * 40)
    names = [*LOOSE, "ulaw.sph"]
    # Sound follows each of them, so that reading on too far is heard.
    contents = {name: (folder / name).read_bytes() for name in names} | {
        "last.wav": (folder / "16000.wav").read_bytes()
    }
    members = write_tar(folder / "all.tar", contents)
    return {name: (folder / name, members[name]) for name in names}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from([*LOOSE, "ulaw.sph"]))
def test_a_part_of_a_member_is_that_of_the_file(pairs, data, name):
    loose, member = pairs[name]
    header = read_header(member)
    assert header == read_header(loose)
    start = data.draw(st.integers(0, header.samples - 1))
    count = data.draw(st.integers(1, min(header.samples - start, 30_000)))
    np.testing.assert_array_equal(read_audio(member, start, count), read_audio(loose, start, count))


@pytest.mark.parametrize("whole_bytes", [0, reading._WHOLE_MEMBER_BYTES])
@pytest.mark.parametrize("name", [*LOOSE, "ulaw.sph"])
def test_a_member_ends_where_it_ends(pairs, name, whole_bytes, monkeypatch):
    monkeypatch.setattr(reading, "_WHOLE_MEMBER_BYTES", whole_bytes)
    loose, member = pairs[name]
    samples = read_header(member).samples
    np.testing.assert_array_equal(read_audio(member), read_audio(loose))
    with pytest.raises(UserError, match=r"truncated|reading failed"):
        read_audio(member, samples - 100, 101)


def test_the_fixture_has_members_that_are_read_in_every_way(pairs):
    sizes = {name: shards.find_member(member).size for name, (_, member) in pairs.items()}
    assert sizes["a.flac"] < reading._WHOLE_MEMBER_BYTES < sizes["big.flac"]
    whose_descriptor = {name for name, (_, member) in pairs.items() if goes_alone(member)}
    assert whose_descriptor == {"16000.wav", "44100.wav", "float.wav", "ulaw.wav", "big.wav"}


def goes_alone(path):
    member = shards.find_member(path)
    descriptor = os.open(member.shard, os.O_RDONLY)
    try:
        return shards.goes_to_wav(descriptor, member)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, 7, 10**8])
def test_a_wav_whose_data_claims_another_length_is_read_as_the_file_is(tmp_path, size):
    content = bytearray(wav_bytes(hum(1.0, 200, 2)))
    place = content.index(b"data") + 4
    content[place : place + 4] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    member = write_tar(tmp_path / "a.tar", {"a.wav": bytes(content), "b.wav": bytes(content)})["a.wav"]
    assert goes_alone(member)

    def outcome(path):
        try:
            return read_header(path), read_audio(path).tolist()
        except UserError as error:
            # A member is packed again, and not converted in its place.
            return str(error).replace(str(path), "PATH").split("Convert it")[0]

    assert outcome(member) == outcome(tmp_path / "a.wav")


@pytest.mark.parametrize("riff", [0, 100, 2**32 - 1])
def test_a_wav_whose_riff_claims_another_length_is_read_as_the_file_is(tmp_path, riff):
    content = bytearray(wav_bytes(hum(1.0, 200, 3)))
    content[4:8] = riff.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    member = write_tar(tmp_path / "a.tar", {"a.wav": bytes(content), "b.wav": bytes(content)})["a.wav"]
    assert not goes_alone(member)
    assert read_header(member) == read_header(tmp_path / "a.wav")
    np.testing.assert_array_equal(read_audio(member), read_audio(tmp_path / "a.wav"))


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_with_long_names_of_any_program_are_found(tmp_path, tar_format):
    name = "/".join(["folder"] * 18 + ["wört.wav"])
    audio = hum(0.5, 200, 4)
    members = write_tar(tmp_path / "a.tar", {"first.txt": b"x", name: wav_bytes(audio, subtype="FLOAT")}, tar_format)
    assert read_header(members[name]).frames == len(audio)
    np.testing.assert_array_equal(read_audio(members[name]), audio)


@pytest.mark.parametrize("name", ["a#b.wav", "a.tar#1.wav", "#1+2", "a.tar#1+2", "a.tar#1+"])
def test_files_with_a_hash_in_their_names_are_files(tmp_path, name):
    audio = hum(0.5, 200, 5)
    path = tmp_path / name
    soundfile.write(path, audio, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path), audio)
    assert read_header(path).frames == len(audio)
    assert shards.holding_file(path) == path
    assert shards.read_content(path) == path.read_bytes()
    folder = tmp_path / "b.tar#1+2"
    folder.mkdir()
    path.rename(folder / "c.wav")
    np.testing.assert_array_equal(read_audio(folder / "c.wav"), audio)


def test_the_file_that_holds_a_member_is_its_shard(pairs):
    loose, member = pairs["a.flac"]
    assert shards.holding_file(member) == loose.with_name("all.tar")
    assert shards.holding_file(loose) == loose
    assert shards.read_content(member) == loose.read_bytes()


@pytest.fixture
def shard(tmp_path):
    """Return the paths of two members, a wav and a flac."""
    flac = io.BytesIO()
    soundfile.write(flac, hum(0.5, 300, 6), SAMPLE_RATE, format="FLAC")
    members = write_tar(tmp_path / "a.tar", {"a.wav": wav_bytes(hum(0.5, 200, 6)), "b.flac": flac.getvalue()})
    return members["a.wav"], members["b.flac"]


def moved(path, *, by=0, longer=0):
    member = shards.find_member(path)
    return Path(shards.member_path(member.shard, member.offset + by, member.size + longer))


FAULTS = {
    "missing": "no such shard",
    "a folder": "expected an uncompressed tar file as the shard, found no file",
    "elsewhere": "no such shard",
    "cut before the member": r"a shard of at least \d+ bytes, found 100\. .*truncated",
    "cut within the member": r"a shard of at least \d+ bytes, found \d+\. .*truncated",
    "empty": r"a shard of at least \d+ bytes, found 0\.",
    "a little off": r"expected a member of \d+ bytes, found no member",
    "by a block": r"expected a member of \d+ bytes, found no member",
    "far beyond": r"a shard of at least \d+ bytes, found \d+",
    "too long": r"expected a member of \d+ bytes, found the member \w\.\w+ of \d+ bytes",
    "too short": r"expected a member of \d+ bytes, found the member \w\.\w+ of \d+ bytes",
    "no bytes": r"expected a member of \d+ bytes, found the member \w\.\w+ of \d+ bytes",
    "overwritten": "expected audio that libsndfile can read, found other data",
}


def spoilt(path, fault):
    tar = Path(shards.find_member(path).shard)
    member = shards.find_member(path)
    if fault in ("missing", "a folder"):
        tar.unlink()
        if fault == "a folder":
            tar.mkdir()
    elif fault == "elsewhere":
        return path.parent / "nowhere" / path.name
    elif fault == "cut before the member":
        os.truncate(tar, 100)
    elif fault == "cut within the member":
        os.truncate(tar, member.offset + 1000)
    elif fault == "empty":
        os.truncate(tar, 0)
    elif fault == "overwritten":
        with tar.open("r+b") as file:
            file.seek(member.offset)
            file.write(b"x" * member.size)
    by, longer = {
        "a little off": (-3, 0),
        "by a block": (512, -512),
        "far beyond": (10**15, 0),
        "too long": (0, 300),
        "too short": (0, -300),
        "no bytes": (0, -member.size),
    }.get(fault, (0, 0))
    return moved(path, by=by, longer=longer)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_shard_and_member(shard, which, fault):
    path = spoilt(shard[which], fault)
    for _ in range(20):
        with pytest.raises(UserError, match=FAULTS[fault]) as caught:
            read_header(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("too long", "too short")])
def test_what_a_shard_has_become_is_found_in_training_too(shard, which, fault):
    path = spoilt(shard[which], fault)
    with pytest.raises(UserError) as caught:
        read_audio(path, 0, 8000)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_no_descriptor_is_left_open(shard, fault):
    paths = shard if fault is None else [spoilt(shard[0], fault)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in paths:
        for read in (read_header, read_audio):
            try:
                read(path)
            except UserError:
                assert fault is not None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("which", [0, 1])
def test_a_disk_that_cannot_be_read_is_one_line(shard, which, monkeypatch, capfd):
    def fail(*_):
        raise OSError(5, "Input/output error")

    def fail_after_the_header(descriptor, count, offset):
        return os_pread(descriptor, count, offset) if count == tarfile.BLOCKSIZE else fail()

    os_pread = os.pread
    monkeypatch.setattr(os, "preadv", fail)
    monkeypatch.setattr(os, "pread", fail_after_the_header)
    for read in (read_header, read_audio):
        with pytest.raises(UserError, match=r"cannot be read \(Input/output error\)"):
            read(shard[which])
    assert capfd.readouterr() == ("", "")


def test_a_shard_that_is_replaced_is_read_anew(shard):
    before = read_audio(shard[0])
    replacement = shard[0].with_name("new.tar")
    members = write_tar(replacement, {"a.wav": wav_bytes(hum(0.5, 250, 7))})
    assert members["a.wav"].name.partition("#")[2] == shard[0].name.partition("#")[2]
    os.replace(replacement, shard[0].with_name("a.tar"))
    assert np.abs(read_audio(shard[0]) - before).max() > 0.01


def test_threads_do_not_disturb_each_other(pairs):
    names = ["16000.wav", "big.wav", "a.flac", "big.flac", "ulaw.sph"]
    expected = {name: read_audio(pairs[name][0], 1000, 4000) for name in names}
    differing = []

    def work(first):
        for number in range(40):
            name = names[(first + number) % len(names)]
            if not np.array_equal(read_audio(pairs[name][1], 1000, 4000), expected[name]):
                differing.append(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differing == []


def test_a_forked_process_reads_what_its_parent_reads(pairs):
    loose, member = pairs["big.flac"]
    expected = read_audio(loose, 5000, 4000)
    np.testing.assert_array_equal(read_audio(member, 5000, 4000), expected)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(np.array_equal(read_audio(member, 5000, 4000), expected) for _ in range(30)) else 1)
    for _ in range(30):
        np.testing.assert_array_equal(read_audio(member, 5000, 4000), expected)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.xz"])
def test_a_compressed_shard_is_named_as_one(tmp_path, name):
    (member,) = write_tar(tmp_path / "plain.tar", {"a.wav": wav_bytes(hum(0.1, 200, 1))}).values()
    pack = lzma.compress if name.endswith("xz") else gzip.compress
    (tmp_path / name).write_bytes(pack((tmp_path / "plain.tar").read_bytes()))
    for read in (read_header, read_audio):
        with pytest.raises(UserError, match=f"{name}#.*: expected an uncompressed shard, found a compressed one"):
            read(Path(str(member).replace("plain.tar", name)))
