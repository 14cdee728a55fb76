r"""Scores of how unlike training data a recording is, on held-out classes and on other voices.

    .venv/bin/python bench/unlike.py hold-out data/demo --clusters english chinese --out data/held
    .venv/bin/python run_downstream.py -d lid_mapmix -u fbank -c downstream/lid_mapmix/config/demo.yaml \
        --data data/held -n held
    .venv/bin/python bench/unlike.py scores result/downstream/held data/held

hold-out  a corpus without some clusters; outside.csv has their test utterances.
prompts   real telephone prompts (8 kHz) in five languages, one voice each, in train, dev and test; outside.csv has
          other voices of three of the languages. The folder is that of unpacked Debian packages:
              apt-get download asterisk-core-sounds-{en,es,fr,it,ru}-wav asterisk-prompt-{es-co,fr-armelle} \
                  asterisk-prompt-it-menardi-wav
              for package in *.deb; do dpkg-deb -x $package packages; done
              .venv/bin/python bench/unlike.py prompts packages --out data/prompts
scores    per score, for whole utterances and for their first second: AUROC of outside against test; the 95 % intervals
          of its difference from that of the top probability and of the energy (bootstrap over speakers, of which m − 1
          of m are drawn); and the fractions of test, of its right answers and of outside above the 95 % quantile of
          dev. Dev utterances are not compared with latents of their speakers, as in scoring/open_set.py.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from lid_mapmix.data.labels import read_labels, write_labels
from lid_mapmix.data.manifest.manifest import Manifest, read_manifest, write_manifest
from lid_mapmix.data.prepare.asterisk import MINIMUM_SECONDS
from lid_mapmix.data.windows import sliding_windows, window_batches
from lid_mapmix.inference.recording import Recording
from lid_mapmix.inference.trained import Trained, read_run
from lid_mapmix.scoring.open_set import auroc
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf

_VOICES = {"en_US_f_Allison": "en", "es_MX_f_Allison": "es", "fr_CA_f_June": "fr", "it_IT_m_Carlo": "it"}
_VOICES |= {"ru_RU_f_IvrvoiceRU": "ru"}
_OTHERS = {"es": "es", "fr": "fr", "it_IT_f_Menardi": "it"}
_NO_SPEECH = ("silence", "beep", "tone", "monkeys")
_SPLITS = ("train", "dev", "test")
_SAMPLES = 500
# Latents (utterances, dim), logits and probabilities (utterances, classes), class and speaker of each.
_Part = dict[str, np.ndarray]


def main() -> None:
    """Make a corpus, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("hold-out", _hold_out), ("prompts", _prompts), ("scores", _scores)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if name == "scores":
            command.add_argument("run", type=Path)
        command.add_argument("data", type=Path)
        if name != "scores":
            command.add_argument("--out", type=Path, required=True)
        if name == "hold-out":
            command.add_argument("--clusters", nargs="+", required=True)
    options = parser.parse_args()
    options.function(options)


def _hold_out(options: argparse.Namespace) -> None:
    labels = read_labels(options.data / "labels.yaml")
    kept = [name for cluster, names in labels.clusters.items() if cluster not in options.clusters for name in names]
    options.out.mkdir(parents=True, exist_ok=True)
    write_labels(options.out / "labels.yaml", labels.only(kept))
    for split in _SPLITS:
        manifest = read_manifest(options.data / f"{split}.csv")
        inside = np.isin(manifest.columns["class"].astype(str), kept)
        _write(options.out / f"{split}.csv", manifest, inside)
        if split == "test":
            _write(options.out / "outside.csv", manifest, ~inside)


def _write(path: Path, manifest: Manifest, chosen: np.ndarray) -> None:
    columns = {name: values[chosen] for name, values in manifest.columns.items()}
    audio = [str(manifest.audio_path(row).resolve()) for row in np.flatnonzero(chosen)]
    write_manifest(path, columns | {"audiopath": np.array(audio)})


def _prompts(options: argparse.Namespace) -> None:
    sounds, generator = (options.data / "usr/share/asterisk/sounds").resolve(), np.random.default_rng(0)
    rows: dict[str, list[tuple]] = {name: [] for name in (*_SPLITS, "outside")}
    for voice, language in (_VOICES | _OTHERS).items():
        for path in sorted((sounds / voice).rglob("*")):
            name = path.relative_to(sounds).as_posix()
            if path.suffix not in (".wav", ".gsm") or any(word in name for word in _NO_SPEECH):
                continue
            if path.suffix == ".gsm":  # without a header
                audio, rate = soundfile.read(path, format="RAW", subtype="GSM610", samplerate=8000, channels=1)
                path = (options.out / "audio" / name).with_suffix(".wav").resolve()  # noqa: PLW2901
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, audio, rate)
            seconds = soundfile.info(path).duration if path.stat().st_size > 44 else 0.0  # noqa: PLR2004
            if seconds >= MINIMUM_SECONDS:
                split = "outside" if voice in _OTHERS else generator.choice(_SPLITS, p=[0.7, 0.2, 0.1])
                rows[split].append((str(path), language, round(seconds, 3), name, voice))
    for split, found in rows.items():
        names = ("audiopath", "class", "seconds", "id", "speaker")
        write_manifest(options.out / f"{split}.csv", dict(zip(names, zip(*found, strict=True), strict=True)))
        print(f"{split}: {len(found)}")


def _scores(options: argparse.Namespace) -> None:
    trained = read_run(options.run)
    train = _score(trained, options.data / "train.csv")
    for seconds in (None, 1.0):
        print(
            f"\n{'score':13} {'AUROC':>6} {'− top p':>15} {'− energy':>15} {'test':>6} {'right':>6} {'outside':>7}",
            end="",
        )
        print("  whole utterances" if seconds is None else f"  first {seconds:g} s")
        dev, test, outside = (
            _score(trained, options.data / f"{name}.csv", seconds) for name in ("dev", "test", "outside")
        )
        whole = dev if seconds is None else _score(trained, options.data / "dev.csv")
        candidates = _candidates(train, whole)
        values = {name: (function(test), function(outside)) for name, function in candidates.items()}
        moved = {name: _resampled(*each, test["speaker"], outside["speaker"]) for name, each in values.items()}
        right = test["probabilities"].argmax(axis=1) == test["truth"]
        for name, (inside, beyond) in values.items():
            own = _distances(whole, dev, without=True) if name == "nearest dev" else candidates[name](dev)
            limit = np.quantile(own, 0.95)
            gains = [np.quantile(moved[name] - moved[other], [0.025, 0.975]) for other in ("top p", "energy")]
            gains_text = " ".join(f"{low:+7.3f} {high:+7.3f}" for low, high in gains)
            above = [(part > limit).mean() for part in (inside, inside[right], beyond)]
            print(
                f"{name:13} {auroc(inside, beyond):6.3f} {gains_text} {above[0]:6.3f} {above[1]:6.3f} {above[2]:7.3f}"
            )


def _candidates(train: _Part, dev: _Part) -> dict[str, Callable[[_Part], np.ndarray]]:
    classes, place = np.unique(train["truth"], return_inverse=True)
    means = np.stack([train["latents"][place == number].mean(axis=0) for number in range(len(classes))])
    mean = train["latents"].mean(axis=0)
    within, total = (
        LedoitWolf(assume_centered=True).fit(train["latents"] - centre).precision_ for centre in (means[place], mean)
    )

    def mahalanobis(part: _Part) -> np.ndarray:
        gaps = part["latents"][:, None] - means
        return np.einsum("ncd,de,nce->nc", gaps, within, gaps).min(axis=1)

    def relative(part: _Part) -> np.ndarray:
        gaps = part["latents"] - mean
        return mahalanobis(part) - np.einsum("nd,de,ne->n", gaps, total, gaps)

    return {
        "top p": lambda part: -part["probabilities"].max(axis=1),
        "entropy": lambda part: -(part["probabilities"] * np.log(part["probabilities"])).sum(axis=1),
        "energy": lambda part: -logsumexp(part["logits"], axis=1),
        "mahalanobis": mahalanobis,
        "relative m.": relative,
        "nearest train": lambda part: _distances(train, part),
        "nearest dev": lambda part: _distances(dev, part),
    }


def _distances(reference: _Part, part: _Part, *, without: bool = False) -> np.ndarray:
    """Return cosine distances to the nearest latent; `without`: to those of other speakers, of the same utterances."""
    first, second = (each["latents"] / np.linalg.norm(each["latents"], axis=1)[:, None] for each in (reference, part))
    cosines = second @ first.T
    if without:
        speakers, truth = reference["speaker"], reference["truth"]
        alone = np.array([len(set(speakers[truth == name])) == 1 for name in truth])
        own = np.eye(len(truth), dtype=bool)
        cosines[np.where(alone[:, None], own, speakers[:, None] == speakers)] = -2
    return 1 - cosines.max(axis=1)


def _resampled(inside: np.ndarray, outside: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the AUROC of resampled speakers, `first` those of inside and `second` those of outside."""
    speakers, generator = np.unique(np.concatenate([first, second])), np.random.default_rng(0)
    rows = [[np.flatnonzero(names == speaker) for speaker in speakers] for names in (first, second)]
    found = []
    for _ in range(_SAMPLES):
        drawn = generator.integers(len(speakers), size=len(speakers) - 1)
        one, other = (np.concatenate([part[speaker] for speaker in drawn]) for part in rows)
        found.append(auroc(inside[one], outside[other]) if len(one) and len(other) else np.nan)
    return np.array([value for value in found if not np.isnan(value)])


@torch.inference_mode()
def _score(trained: Trained, path: Path, seconds: float | None = None) -> _Part:
    """Score the utterances of a manifest, or their first seconds; values are means over windows."""
    manifest = read_manifest(path)
    recordings = [Recording.of_utterance(manifest, row) for row in range(len(manifest))]
    counts = np.array([recording.samples for recording in recordings])
    if seconds is not None:
        counts = np.minimum(counts, round(seconds * 16_000))
    config = trained.evaluation
    windows = sliding_windows(counts, config.window_seconds, config.hop_seconds)
    latents = None
    for batch in window_batches(windows[:, 2], config.batch_seconds, mix_lengths=config.mix_lengths):
        wavs = [torch.from_numpy(recordings[row].read(start, count)) for row, start, count in windows[batch].tolist()]
        sizes = torch.tensor([len(wav) for wav in wavs])
        found = trained.model.latents(trained.features(wavs), torch.zeros_like(sizes), sizes).double().numpy()
        latents = np.empty((len(windows), found.shape[1])) if latents is None else latents
        latents[batch] = found
    logits = trained.model.logits(torch.from_numpy(latents)).double()
    number = {name: place for place, name in enumerate(trained.labels.classes)}
    names = manifest.columns["class"].tolist()
    return {
        "latents": _means(latents, windows[:, 0]),
        "logits": _means(logits.numpy(), windows[:, 0]),
        "probabilities": _means(logits.softmax(dim=1).numpy(), windows[:, 0]),
        "truth": np.array([number.get(name, -1) for name in names]),
        "speaker": np.array(manifest.text_column("speaker").tolist()),
    }


def _means(values: np.ndarray, utterance: np.ndarray) -> np.ndarray:
    sums = np.zeros((utterance[-1] + 1, values.shape[1]))
    np.add.at(sums, utterance, values)
    return sums / np.bincount(utterance)[:, None]


if __name__ == "__main__":
    main()
