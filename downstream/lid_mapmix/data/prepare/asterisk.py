"""Telephone prompts of five languages, recordings of people: ``lid-mapmix prepare asterisk``.

Debian packages the prompts of the Asterisk telephone exchange as asterisk-core-sounds-LANGUAGE-wav: 8 kHz, about five
hundred per language, one speaker each. Language and speaker coincide, so scores on this corpus do not measure language
identification; it is for trying the pipeline on real audio. The prompts are not copied; the manifests have their paths.
"""

import argparse
import logging
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ...utils.command_line import CommandParser
from ...utils.errors import UserError
from .steps.corpus import DEFAULT_FRACTION, Corpus, add_common_flags
from .steps.tables import files_digest

DEFAULT_SOUNDS = Path("/usr/share/asterisk/sounds")
CLASS_OF = {"en": "eng", "es": "spa", "fr": "fra", "it": "ita", "ru": "rus"}
CLUSTERS = {"germanic": ("eng",), "romance": ("fra", "ita", "spa"), "slavic": ("rus",)}
MINIMUM_SECONDS = 1.0
_HEADER_BYTES = 44
# Silence, signal tones and monkeys are the same in every language. (The package's own name for the last is tt-monkeys.)
NO_SPEECH = ("silence/*", "beep.wav", "beeperr.wav", "*-2tone.wav", "tt-monkeys.wav")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prompt:
    path: Path
    name: str
    language: str
    voice: str


def _add_flags(parser: CommandParser) -> None:
    meaning = "folder with one folder of prompts per language, such as en_US_f_Allison (default: %(default)s)"
    parser.add_argument("--sounds", type=Path, default=DEFAULT_SOUNDS, metavar="FOLDER", help=meaning)
    add_common_flags(parser, DEFAULT_FRACTION)


def _prepare(options: argparse.Namespace) -> Path:
    """Write manifests for the prompts, each in the same split in all languages, without short ones."""
    # Imported after the flags are parsed, because NumPy is slow to import.
    import numpy as np  # noqa: PLC0415
    from tqdm import tqdm  # noqa: PLC0415

    from ..labels import Labels  # noqa: PLC0415
    from .steps.prepared_folder import preparation, write_corpus  # noqa: PLC0415
    from .steps.splits import check_fractions, divide, split_units  # noqa: PLC0415

    fractions = {"dev_fraction": options.dev_fraction, "test_fraction": options.test_fraction}
    check_fractions(**fractions)
    folder, sounds = options.folder.resolve(), options.sounds.resolve()
    prompts = _find_prompts(sounds)
    settings = {
        "corpus": "asterisk",
        "sounds": str(sounds),
        "files": len(prompts),
        "digest": files_digest((prompt.path for prompt in prompts), sounds),
        "minimum_seconds": MINIMUM_SECONDS,
        **fractions,
        "seed": options.seed,
    }
    with preparation(folder, settings, overwrite=options.overwrite) as needed:
        if not needed:
            return folder
        seconds = np.array([_seconds(prompt.path) for prompt in tqdm(prompts, desc="Reading headers", unit="file")])
        long_enough = seconds >= MINIMUM_SECONDS
        log.info("dropped %d of %d prompts shorter than %g s", (~long_enough).sum(), len(long_enough), MINIMUM_SECONDS)
        columns = {
            "audiopath": np.array([str(prompt.path) for prompt in prompts]),
            "class": np.array([CLASS_OF[prompt.language] for prompt in prompts]),
            "seconds": seconds,
            "id": np.array([f"{prompt.voice}/{prompt.name}" for prompt in prompts]),
            "speaker": np.array([prompt.voice.rsplit("_", 1)[-1] for prompt in prompts]),
            "source": np.array([prompt.voice for prompt in prompts]),
        }
        columns = {name: values[long_enough] for name, values in columns.items()}
        splits = split_units(
            np.array([prompt.name for prompt in prompts])[long_enough],
            columns["class"],
            columns["seconds"],
            unit_name="prompt",
            seed=options.seed,
            **fractions,
        )
        return write_corpus(folder, settings, divide(columns, splits), Labels(CLUSTERS))


def _seconds(prompt: Path) -> float:
    # A prompt may be a header without audio, on purpose: Russian has no word for "is".
    if 0 < prompt.stat().st_size <= _HEADER_BYTES:
        return 0.0
    from ..audio.reading import read_header  # noqa: PLC0415

    header = read_header(prompt)
    return round(header.frames / header.sample_rate, 3)


def _find_prompts(sounds: Path) -> list[_Prompt]:
    """Return the prompts of all languages, in a fixed order."""
    prompts = [
        _Prompt(path, path.relative_to(voice).as_posix(), language, voice.name)
        for language in CLASS_OF
        for voice in _voice_folders(sounds, language)
        for path in sorted(voice.rglob("*.wav"))
    ]
    prompts = [prompt for prompt in prompts if not any(fnmatch(prompt.name, pattern) for pattern in NO_SPEECH)]
    missing = sorted(CLASS_OF.keys() - {prompt.language for prompt in prompts})
    if missing:
        packages = " ".join(f"asterisk-core-sounds-{language}-wav" for language in missing)
        raise UserError(
            f"{sounds}: expected prompts of {', '.join(missing)} in folders like en_US_f_Allison, found none. Install "
            f"them with 'sudo apt-get install {packages}', or pass their folder by --sounds."
        )
    return prompts


def _voice_folders(sounds: Path, language: str) -> list[Path]:
    """Return the folders of one language; links such as fr and fr_CA lead to folders that are listed anyway."""
    if not sounds.is_dir():
        return []
    return sorted(
        path
        for path in sounds.iterdir()
        if path.name.split("_", 1)[0] == language and path.is_dir() and not path.is_symlink()
    )


CORPUS = Corpus(
    "Debian's Asterisk prompts: five languages, real telephone speech, one speaker each",
    """\
sudo apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav
lid-mapmix prepare asterisk --out data/
lid-mapmix prepare asterisk --out data/ --sounds unpacked/usr/share/asterisk/sounds""",
    _add_flags,
    _prepare,
)
