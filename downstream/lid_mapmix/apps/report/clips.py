"""The utterances that went worst, each with its audio where that is still there."""

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
# Lossless, so that what is heard is what the model had, and the same bytes each time: 20 clips are 7 MB at most.
CLIP_SECONDS = 8.0


@dataclass(frozen=True)
class Clip:
    """An utterance that went wrong.

    Attributes
    ----------
    name : its id.
    truth, answer : names of classes.
    truth_probability, answer_probability : of the two.
    seconds : nominal duration; None where unknown.
    audio : of its first seconds, as an address that holds it; None where it cannot be read.
    is_cut : the utterance is longer than what is played.
    """

    name: str
    truth: str
    answer: str
    truth_probability: float
    answer_probability: float
    seconds: float | None
    audio: str | None
    is_cut: bool


def worst_clips(findings: Findings, manifest: Manifest | None, count: int = WORST) -> list[Clip]:
    """Return the utterances whose true class got the lowest probability, the worst first.

    Parameters
    ----------
    findings : of the run.
    manifest : of the split; None for no audio.
    count : at most so many.
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
