"""The worst utterances, with their audio if it is still available."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from ...data.audio.reading import SAMPLE_RATE, read_audio
from ...data.audio.spans import utterance_span
from ...data.manifest.manifest import Manifest
from ...utils.errors import UserError
from .gather import Findings

WORST = 20
# FLAC is lossless and deterministic: the clip is the input of the model; 20 clips take at most 7 MB.
CLIP_SECONDS = 8.0


@dataclass(frozen=True)
class Clip:
    """An utterance with a low probability of its true class."""

    name: str  # its id
    # truth, answer: true and predicted class.
    truth: str
    answer: str
    # truth_probability, answer_probability: their probabilities.
    truth_probability: float
    answer_probability: float
    seconds: float | None  # nominal duration; None if unknown
    audio: str | None  # its first seconds as a data URL; None if they cannot be read
    is_cut: bool  # the utterance is longer than the clip


def worst_clips(findings: Findings, manifest: Manifest | None, count: int = WORST) -> list[Clip]:
    """Return the utterances with the lowest probability of the true class, the worst first.

    `manifest`: of the split; None for no audio. `count`: maximum number of utterances.
    """
    scores = findings.scores
    rows = np.arange(len(scores.ids))
    of_truth = scores.log_probabilities[rows, scores.truth_indices]
    place_of = {} if manifest is None else {str(name): place for place, name in enumerate(manifest.columns["id"])}
    clips = []
    for row in np.argsort(of_truth, kind="stable")[:count].tolist():
        place = place_of.get(str(scores.ids[row]))
        audio, is_cut = (None, False) if manifest is None or place is None else _audio(manifest, place)
        clips.append(
            Clip(
                name=str(scores.ids[row]),
                truth=str(scores.truth[row]),
                answer=str(scores.predictions[row]),
                truth_probability=float(np.exp(of_truth[row])),
                answer_probability=float(np.exp(scores.log_probabilities[row].max())),
                seconds=float(scores.seconds[row]) if np.isfinite(scores.seconds[row]) else None,
                audio=audio,
                is_cut=is_cut,
            )
        )
    return clips


def _audio(manifest: Manifest, place: int) -> tuple[str | None, bool]:
    import soundfile  # noqa: PLC0415

    try:
        start, available = utterance_span(manifest, place)
        count = min(available, round(CLIP_SECONDS * SAMPLE_RATE))
        audio = read_audio(manifest.audio_path(place), start, count)
    except UserError:
        return None, False
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:audio/flac;base64,{encoded}", count < available
