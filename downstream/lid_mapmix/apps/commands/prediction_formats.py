"""The output formats of ``lid-mapmix predict``: text, JSON lines, Audacity labels, RTTM.

======== ==================================================================================================
format   one line
======== ==================================================================================================
text     ``name: class probability, …``; with segments the name, then a line with start, end, class, probability each
json     per recording, a JSON object; per folder from which files were left out, one with their number by extension
audacity per segment, start, end and class, separated by tabs; one recording only
rttm     per segment, ``SPEAKER name 1 start duration <NA> <NA> class <NA> <NA>`` (NIST Rich Transcription Time
         Marked), with the class in the speaker field
======== ==================================================================================================

Audacity and RTTM omit segments without a class.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.one_line import one_line, printable_json

if TYPE_CHECKING:
    from ...inference.answer import Identification
    from ...inference.recording import Recording
    from ...inference.segments import Segment

_TOP = 3


class Format(StrEnum):
    """An output format."""

    TEXT = "text"
    JSON = "json"
    AUDACITY = "audacity"
    RTTM = "rttm"


# Formats with one line per segment and nothing else.
TRACKS = (Format.AUDACITY, Format.RTTM)


def answer_line(answer: "Identification", form: Format, top: int | None) -> str:
    """Return the line of a recording's answer, with the `top` most probable classes."""
    if form is Format.JSON:
        return printable_json(json.dumps({**answer.as_dict(top), "name": _shown(answer.name)}, ensure_ascii=False))
    name = one_line(answer.name)
    listed = ", ".join(
        f"{one_line(label)} {probability:.3f}"
        for label, probability in zip(answer.classes[: top or _TOP], answer.probabilities, strict=False)
    )
    remarks = "".join(f"; {remark}" for remark in answer.remarks)
    if answer.label is not None:
        return f"{name}: {listed}{remarks}"
    return f"{name}: {one_line(answer.answer)}" + (f" ({listed})" if listed else "") + remarks


def track_lines(recording: "Recording", segments: "Sequence[Segment]", form: Format) -> Iterator[str]:
    """Yield the lines of a recording's segments."""
    name = _shown(recording.name)
    if form is Format.JSON:
        content = {
            "name": name,
            "seconds": round(recording.seconds, 3),
            "segments": [_as_dict(segment) for segment in segments],
        }
        yield printable_json(json.dumps(content, ensure_ascii=False))
        return
    if form is Format.TEXT:
        yield one_line(name)
        for segment in segments:
            probability = "" if math.isnan(segment.probability) else f" {segment.probability:.3f}"
            yield f"  {segment.start:9.2f} {segment.end:9.2f}  {one_line(segment.answer)}{probability}"
        return
    # A field of RTTM contains no whitespace.
    name = re.sub(r"\s", "_", Path(name).stem)
    for segment in segments:
        if segment.label is None:
            continue
        if form is Format.AUDACITY:
            yield f"{segment.start:.6f}\t{segment.end:.6f}\t{one_line(segment.answer)}"
        else:
            duration = segment.end - segment.start
            label = re.sub(r"\s", "_", segment.answer)
            yield f"SPEAKER {name} 1 {segment.start:.3f} {duration:.3f} <NA> <NA> {label} <NA> <NA>"


def left_out_line(folder: str, counts: Mapping[str, int]) -> str:
    """Return the JSON line of a folder from which files were left out, extension → number."""
    record = {"name": _shown(folder), "outcome": "left out", "label": None, "left_out": dict(counts)}
    return json.dumps(record, ensure_ascii=False)


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _as_dict(segment: "Segment") -> dict[str, str | float | None]:
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "outcome": segment.outcome.value,
        "label": segment.label,
        "probability": None if math.isnan(segment.probability) else segment.probability,
    }
