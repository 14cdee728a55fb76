r"""Speed of ``lid-mapmix check``.

    .venv/bin/python bench/check.py
    .venv/bin/python bench/check.py --tables samples --data data/demo

headers  audio headers read per minute, by number of threads; wav files in the page cache.
samples  files decoded and measured per minute, and hours of audio per minute.
bands    fraction of clean synthetic speech with a detected band limit: should be none for wideband speech, and all for
         speech resampled from 8 kHz.
columns  seconds for the checks of the manifest columns of a large corpus, with headers read, without audio.
"""

import argparse
import csv
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from lid_mapmix.data import SPLITS
from lid_mapmix.data.check.corpus_check import check_corpus
from lid_mapmix.data.check.findings import count_errors
from lid_mapmix.data.check.quality import measure
from lid_mapmix.data.check.subject import Headers, Subject, Utterances, read_headers, read_samples
from lid_mapmix.data.manifest.manifest import Manifest, read_manifest
from lid_mapmix.data.prepare.demo.demo import CLUSTERS
from lid_mapmix.data.prepare.demo.espeak import Voice, synthesise
from scipy.signal import firwin, lfilter, resample_poly
from tidy import tidy_when_stopped

_SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}
_RATE = 16_000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["headers", "samples", "bands", "columns"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--files", type=int, default=20_000, help="files of the table headers; default: 20000")
    parser.add_argument(
        "--utterances", type=int, default=1_000_000, help="utterances of the table columns; default: 1000000"
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2, 4], help="numbers of threads; default: 1, 2 and 4"
    )
    parser.add_argument("--data", type=Path, default=Path("data/demo"), help="prepared corpus; default: data/demo")
    options = parser.parse_args()
    tidy_when_stopped()
    if "headers" in options.tables:
        with tempfile.TemporaryDirectory() as folder:
            _print_headers(_short_files(Path(folder), options.files), options.threads)
    if "samples" in options.tables:
        _print_samples(options.data, options.threads)
    if "bands" in options.tables and (options.data / "texts.csv").is_file():
        _print_bands(options.data / "texts.csv")
    if "columns" in options.tables:
        _print_columns(options.utterances)


def _short_files(folder: Path, count: int) -> Utterances:
    audio = np.random.default_rng(0).standard_normal(_RATE // 10) * 0.1
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", audio, _RATE)
    return _corpus(folder, count)


def _corpus(folder: Path, count: int) -> Utterances:
    """Make the columns of a corpus of 30 classes, 4 utterances of a speaker."""
    generator = np.random.default_rng(0)
    bounds = np.cumsum([0, *(round(share * count) for share in _SHARES.values())])
    manifests = {}
    for split, first, last in zip(SPLITS, bounds[:-1], bounds[1:], strict=True):
        numbers = np.arange(first, last)
        paths = np.char.add(numbers.astype(str), ".wav")
        manifests[split] = Manifest(
            folder / f"{split}.csv",
            {
                "audiopath": paths,
                "id": paths,
                "class": np.char.add("class-", generator.integers(30, size=len(numbers)).astype(str)),
                "seconds": np.full(len(numbers), 0.1),
                "speaker": np.char.add(split, (numbers // 4).astype(str)),
            },
        )
    return Utterances.of(manifests)


def _print_headers(utterances: Utterances, threads: list[int]) -> None:
    read_headers(utterances, 1)
    print(f"headers of {len(utterances)} wav files:")
    for count in threads:
        begin = time.perf_counter()
        headers = read_headers(utterances, count)
        seconds = time.perf_counter() - begin
        assert not headers.fault.any()
        print(f"  {count} threads: {60 * len(utterances) / seconds:,.0f} files a minute")


def _print_samples(folder: Path, threads: list[int]) -> None:
    utterances = Utterances.of({split: read_manifest(folder / f"{split}.csv") for split in SPLITS})
    headers = read_headers(utterances, 1)
    print(f"\nsamples of {len(utterances)} utterances of {folder}:")
    for count in threads:
        begin, used = time.perf_counter(), time.process_time()
        samples = read_samples(utterances, headers, count)
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        assert samples.read.all()
        print(
            f"  {count} threads: {60 * len(utterances) / seconds:,.0f} files or "
            f"{utterances.seconds.sum() / 60 / seconds:.1f} h of audio a minute; {used:.1f} s of CPU"
        )


def _print_bands(texts: Path) -> None:
    languages = {dialect.name: dialect.language for members in CLUSTERS.values() for dialect in members}
    with texts.open(encoding="utf-8", newline="") as file:
        spoken = [(row["id"], row["text"]) for row in csv.DictReader(file)][::10]
    generator = np.random.default_rng(0)
    seen: dict[str, list[bool]] = {}
    for number, (name, text) in enumerate(spoken):
        parts = name.split("-")
        voice = Voice(languages["-".join(parts[:2])], parts[-1])
        wide = resample_poly(synthesise(text, voice, number) / 32_768, 320, 441)
        wide *= 10 ** (-26 / 20) / wide.std()
        half = resample_poly(wide, 1, 2)
        telephone = lfilter(firwin(101, [300, 3_400], fs=8_000, pass_zero=False), 1, half)
        noise = generator.standard_normal(2 * len(half)) * wide.std()
        between = np.interp(np.arange(2 * len(half)) / 2, np.arange(len(half)), half)
        kinds = {
            "wideband": wide,
            "wideband, 19 dB quieter": wide * 10 ** (-19 / 20),
            "upsampled": resample_poly(half, 2, 1),
            "upsampled, 19 dB quieter": resample_poly(half, 2, 1) * 10 ** (-19 / 20),
            "telephone, upsampled": resample_poly(telephone, 2, 1),
            "upsampled, noise at -40 dB": resample_poly(half, 2, 1) + noise / 100,
            "upsampled, noise at -20 dB": resample_poly(half, 2, 1) + noise / 10,
            "upsampled by straight lines": between,
        }
        for kind, audio in kinds.items():
            samples = (np.rint(audio.clip(-1, 1) * 32_767) / 32_768).astype(np.float32)[:, None]
            seen.setdefault(kind, []).append(measure([samples], _RATE).edge < _RATE / 2)
    print(f"\na band limit is seen in, of {len(spoken)} utterances of clean speech:")
    for kind, values in seen.items():
        print(f"  {kind:28}{np.mean(values):7.1%}")


def _print_columns(count: int) -> None:
    begin = time.perf_counter()
    utterances = _corpus(Path("nowhere"), count)
    made = time.perf_counter()
    files = len(utterances.file.names)
    headers = Headers(
        fault=np.zeros(files, np.int8),
        frames=np.full(files, _RATE // 10),
        sample_rate=np.full(files, _RATE, np.int32),
        channels=np.ones(files, np.int16),
        contradicts=np.zeros(files, bool),
    )
    assert count_errors(check_corpus(Subject(utterances, None, headers))) == 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\ncolumns of {count:,} utterances: {time.perf_counter() - made:.1f} s to check,")
    print(f"  after {made - begin:.1f} s to make and to number them; peak of the process {peak:.2f} GB")


if __name__ == "__main__":
    main()
