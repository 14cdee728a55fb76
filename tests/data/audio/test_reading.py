import csv
import os
import re

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from helpers.synthetic import hum, write_sphere_ulaw
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.audio.reading import (
    SAMPLE_RATE,
    read_audio,
    read_header,
)
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.utils.errors import UserError
from reference import ulaw

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
OPUS_RATES = (16_000, 48_000)
SECONDS = 1.3


def one_line(caught, path):
    """Check that an error is one line that names the file."""
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def whole(path):
    """Return a whole file at 16 kHz, by resampling all of it."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torchaudio.functional.resample(torch.from_numpy(audio.mean(axis=1)), rate, SAMPLE_RATE).numpy()


def manifest_of(folder, **columns):
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, columns.values()])
    return read_manifest(folder / "train.csv")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    for rate in RATES:
        soundfile.write(folder / f"{rate}.wav", hum(SECONDS, 200, 1, rate), rate, subtype="FLOAT")
    for rate in OPUS_RATES:
        soundfile.write(folder / f"{rate}.opus", hum(SECONDS, 200, 1, rate), rate, format="OGG", subtype="OPUS")
    return folder


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_of_any_rate_is_the_tone_at_16_khz(tmp_path, rate):
    time = np.arange(rate) / rate
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * time), rate, subtype="FLOAT")
    audio = read_audio(tmp_path / "tone.wav")
    assert audio.dtype == np.float32
    assert len(audio) == SAMPLE_RATE == read_header(tmp_path / "tone.wav").samples
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    # The edges ring.
    np.testing.assert_allclose(audio[200:-200], expected[200:-200], atol=2e-3)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 4e-5),
        ("a.wav", "PCM_24", 2e-7),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.flac", "PCM_16", 4e-5),
        ("a.flac", "PCM_24", 2e-7),
        ("a.ogg", "VORBIS", 0.05),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_formats_give_the_samples_that_were_written(tmp_path, name, subtype, tolerance):
    audio = hum(1.0, 200, 2)
    soundfile.write(tmp_path / name, audio, SAMPLE_RATE, subtype=subtype)
    np.testing.assert_allclose(read_audio(tmp_path / name), audio, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", OPUS_RATES)
def test_opus_sounds_like_what_was_written(files, rate):
    # It codes what is heard, not the samples: the error has a fortieth of their energy.
    audio, written = read_audio(files / f"{rate}.opus"), hum(SECONDS, 200, 1, SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        written = whole(files / f"{rate}.wav")
    assert len(audio) == len(written) == read_header(files / f"{rate}.opus").samples
    assert np.square(audio - written).sum() < 0.04 * np.square(written).sum()


def test_stereo_is_averaged(tmp_path):
    left, right = hum(0.5, 200, 3), hum(0.5, 300, 4)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "stereo.wav", 100, 500), ((left + right) / 2)[100:600], atol=1e-7)


def test_stereo_at_another_rate_is_averaged(tmp_path):
    left, right = hum(0.5, 200, 3, 48_000), hum(0.5, 300, 4, 48_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([left, right], axis=1), 48_000)
    np.testing.assert_allclose(read_audio(tmp_path / "stereo.flac"), whole(tmp_path / "stereo.flac"), rtol=0, atol=1e-6)


def test_nist_sphere_mu_law(tmp_path):
    codes = bytes(range(256)) * 20
    path = write_sphere_ulaw(tmp_path / "a.sph", codes, sample_rate=SAMPLE_RATE)
    assert read_header(path).samples == len(codes)
    np.testing.assert_array_equal(read_audio(path), np.array([ulaw.decode(code) for code in codes], np.float32))
    telephone = write_sphere_ulaw(tmp_path / "b.sph", codes)
    assert read_header(telephone).samples == 2 * len(codes)
    np.testing.assert_allclose(read_audio(telephone, 777, 1000), whole(telephone)[777:1777], rtol=0, atol=1e-5)


def low_rate_speech(rate):
    """Return bursts of a voice and of noise: at low bit rates their frames borrow bits from earlier ones."""
    time = np.arange(round(4 * rate)) / rate
    phase = 2 * np.pi * (120 * time + 3 * np.sin(4.4 * time))
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9)) * (np.sin(14.5 * time) > -0.3)
    noise = np.random.default_rng(rate).standard_normal(len(time)) * (np.sin(19.5 * time) > 0.6)
    return (0.1 * voice + 0.05 * noise).astype(np.float32)


CODECS = {
    **{
        f"{mode}-{level}-{rate}.mp3": {"bitrate_mode": mode, "compression_level": level}
        for rate in (8_000, 16_000, 24_000, 44_100, 48_000)
        for mode, level in (("CONSTANT", 0.99), ("CONSTANT", 0.9), ("VARIABLE", 0.5), ("AVERAGE", 0.9))
    },
    **{f"vorbis-{rate}.ogg": {"subtype": "VORBIS"} for rate in (8_000, 16_000, 44_100)},
    **{f"opus-{rate}.ogg": {"subtype": "OPUS"} for rate in (16_000, 24_000, 48_000)},
    "pcm-22050.flac": {},
    "float-11025.wav": {"subtype": "FLOAT"},
    "ulaw-8000.wav": {"subtype": "ULAW"},
    "pcm-32000.aiff": {},
}


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """Return name → file and the whole of it at 16 kHz."""
    folder = tmp_path_factory.mktemp("coded")
    for name, form in CODECS.items():
        rate = int(name.rsplit("-", 1)[1].split(".")[0])
        soundfile.write(folder / name, low_rate_speech(rate), rate, **form)
    return {name: (folder / name, read_audio(folder / name)) for name in CODECS}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(CODECS)))
def test_a_part_is_the_same_part_of_the_whole_file(coded, data, name):
    """Parts of MP3 began with up to 78 ms of zeros or broken frames, and those of Vorbis were wrong now and then."""
    path, expected = coded[name]
    assert len(expected) == read_header(path).samples
    start = data.draw(st.integers(0, len(expected) - 1))
    count = data.draw(st.integers(1, len(expected) - start))
    audio = read_audio(path, start, count)
    assert len(audio) == count
    np.testing.assert_allclose(audio, expected[start : start + count], rtol=0, atol=1e-6)


def test_a_file_is_decoded_and_resampled_as_a_whole(coded):
    for path, audio in coded.values():
        np.testing.assert_allclose(audio, whole(path), rtol=0, atol=1e-5)


def test_the_mp3_decoder_writes_nothing_on_the_terminal(coded, capfd):
    for name, (path, expected) in coded.items():
        if name.endswith(".mp3"):
            for start in range(0, len(expected) - 4000, 7000):
                read_audio(path, start, 4000)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_only_the_part_is_decoded(files, monkeypatch):
    decoded = []
    read = soundfile.SoundFile.read

    def counting(file, frames=-1, **arguments):
        decoded.append(frames)
        return read(file, frames, **arguments)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    read_audio(files / "48000.wav", 8000, 1600)
    read_audio(files / "16000.wav", 8000, 1600)
    # 10 ms on either side for the resampler, and whole blocks.
    assert 4800 <= decoded[0] <= 4800 + 2 * 480 + 2 * 3
    assert decoded[1:] == [1600]


def broken(folder, kind):
    path = folder / f"{kind}.wav"
    audio = hum(1.0, 200, 5)
    if kind == "zero_bytes":
        path.touch()
    elif kind.startswith("text"):
        path = path.with_suffix(".mp3") if kind == "text_named_mp3" else path
        path.write_text("audiopath,class\n" * 100)
    elif kind == "header_only":
        soundfile.write(path, audio[:0], SAMPLE_RATE)
    elif kind == "half_a_header":
        soundfile.write(path, audio, SAMPLE_RATE)
        path.write_bytes(path.read_bytes()[:30])
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such audio file"),
        ("folder", "expected a file, found a folder"),
        ("zero_bytes", r"0 bytes"),
        ("text", "expected audio that libsndfile can read, found other data"),
        ("text_named_mp3", r"found other data \(no MP3 frames\)"),
        ("half_a_header", "expected audio that libsndfile can read, found other data"),
        ("header_only", "expected audio, found none in the file"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, kind, says):
    path = broken(tmp_path, kind)
    for read in (read_header, read_audio):
        with pytest.raises(UserError, match=says) as caught:
            read(path)
        one_line(caught, path)


def test_the_reason_of_libsndfile_is_told(tmp_path):
    with pytest.raises(UserError) as caught:
        read_header(broken(tmp_path, "text"))
    assert re.search(r"\(\w[^()]+\)", str(caught.value)), caught.value


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
@pytest.mark.parametrize("name", ["cut.flac", "cut.mp3"])
def test_a_truncated_file_is_found_when_it_is_read(tmp_path, name, rate):
    path = tmp_path / name
    soundfile.write(path, hum(2.0, 200, 6, rate), rate)
    beginning = read_audio(path, 0, 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"truncated|reading failed") as caught:
        read_audio(path, 24_000, 8000)
    one_line(caught, path)
    np.testing.assert_array_equal(read_audio(path, 0, 8000), beginning)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 8_000])
@pytest.mark.parametrize(("start", "count"), [(0, 16_001), (15_000, 2000), (17_000, 500), (17_000, None)])
def test_a_part_beyond_the_end_is_refused_at_any_rate(tmp_path, rate, start, count):
    path = tmp_path / "short.wav"
    soundfile.write(path, hum(1.0, 200, 7, rate), rate)
    with pytest.raises(UserError, match=r"truncated|reading failed") as caught:
        read_audio(path, start, count)
    one_line(caught, path)


def test_a_flac_that_does_not_say_its_length_is_refused(tmp_path):
    path = tmp_path / "piped.flac"
    soundfile.write(path, hum(1.0, 200, 8), SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    # STREAMINFO: the low half of byte 13 and bytes 14 to 17 count the samples; what encodes to a pipe leaves 0.
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(UserError, match="expected its length in the header, found none") as caught:
        read_header(path)
    one_line(caught, path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e37])
@pytest.mark.parametrize("rate", [SAMPLE_RATE, 8_000])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value, rate):
    path, audio = tmp_path / "nan.wav", hum(1.0, 200, 9, rate)
    audio[rate // 2] = value
    soundfile.write(path, audio, rate, subtype="FLOAT")
    with pytest.raises(UserError, match="expected finite samples, found NaN or infinity") as caught:
        read_audio(path)
    one_line(caught, path)
    assert len(read_audio(path, 12_000)) == 4000


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(os.devnull)])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, make):
    """A named pipe in a folder stopped every command that read the folder, without a word."""
    make(tmp_path / "no.wav")
    with pytest.raises(UserError, match="expected a file, found a folder, pipe or device") as caught:
        read_header(tmp_path / "no.wav")
    one_line(caught, tmp_path / "no.wav")


def test_what_cannot_be_read_from_the_middle_on_is_refused_by_its_header(tmp_path):
    """GSM in WAV passed the check of headers, and broke off at the first crop, to be "restored"."""
    soundfile.write(tmp_path / "gsm.wav", hum(1.0, 200, 1), 8_000, subtype="GSM610")
    with pytest.raises(UserError, match=r"gsm\.wav: GSM610 cannot be read from the middle on\. Convert it"):
        read_header(tmp_path / "gsm.wav")


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "x" * 300 + ".tar#512+9"])
def test_what_the_system_refuses_is_bad_audio_and_no_defect(name, tmp_path):
    """It passed as an OSError, which data.on_bad_audio skips none of, and a worker wraps in its traceback."""
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        read_header(tmp_path / name)


@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 44_100])
def test_what_is_resampled_does_not_depend_on_the_number_of_threads(rate, tmp_path):
    """A run without workers, whose main process has all threads, ended with other weights than one with workers."""
    before = torch.get_num_threads()
    soundfile.write(tmp_path / "a.wav", hum(3.0, 200, 1, rate), rate)
    try:
        for samples in (400, 1000, 3000, 8000, 16_000, 48_000):
            found = []
            for count in (1, 2):
                torch.set_num_threads(count)
                found.append(read_audio(tmp_path / "a.wav", 0, samples))
                assert torch.get_num_threads() == count
            assert all(np.array_equal(found[0], each) for each in found)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rate", [1, 50, 44_101, 191_999])
def test_a_rate_that_takes_gigabytes_or_hours_is_refused(rate, tmp_path):
    """44,101 Hz took 5.6 GB to resample, 191,999 Hz 24 GB; a file of 200 kB at 1 Hz counted as 26 hours."""
    soundfile.write(tmp_path / "a.wav", np.zeros(1_000), rate)
    for read in (read_header, read_audio):
        with pytest.raises(UserError, match=f"expected a common sample rate, .* found {rate} Hz"):
            read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 47_952, 48_000, 96_000, 192_000])
def test_common_rates_are_read(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(rate // 10), rate)
    assert len(read_audio(tmp_path / "a.wav")) == pytest.approx(1_600, abs=1)
