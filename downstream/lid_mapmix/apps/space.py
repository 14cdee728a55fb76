"""The page to try a trained model in a browser: ``lid-mapmix app``, and app.py of a Hugging Face Space.

``lid-mapmix export --space`` copies this file; run as a program, it serves the export beside it. Its imports are
absolute for that reason. What it shows is written by space.html.jinja.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
from jinja2 import Environment, PackageLoader

from lid_mapmix.inference.answer import Identification, rejection_threshold
from lid_mapmix.inference.identifier import Identifier
from lid_mapmix.inference.recording import Recording
from lid_mapmix.utils.errors import UserError

# Fraction of the utterances of known classes that "none of these" may cost, if the run has dev scores.
_REJECTED = 0.05
_PANELS = Environment(loader=PackageLoader("lid_mapmix.apps", ""), autoescape=True).get_template("space.html.jinja")
# Without the footer's links and the fonts of a server.
LAUNCH: dict[str, Any] = {
    "theme": gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    "footer_links": [],
    "max_file_size": "200mb",
    "share": False,
}


def make_page(identifier: Identifier, name: str, *, reject: float | None = None) -> gradio.Blocks:
    """Return the page of a model: upload and microphone, calibrated probabilities by cluster, segments over time.

    Raises UserError: `reject` without dev scores.

    `name`: of the model, the title. `reject`: as for `Identifier`; None rejects 5 % of dev if there are dev scores.
    """
    if reject is None and identifier.trained.confidence is not None:
        reject = _REJECTED
    rejection_threshold(identifier.trained.confidence, reject)

    def identify(path: str | None) -> Iterator[tuple[str, str]]:
        if path is None:
            yield "", ""
            return
        try:
            recording = Recording.of_file(path)
            answer = next(identifier.identify([recording], reject=reject))
            if isinstance(answer, UserError):
                raise answer
            yield _panel("answer", answer=answer, clusters=_by_cluster(identifier, answer)), _panel("waiting")
            segments = identifier.segments(recording, reject=reject)
        except UserError as error:
            # The reader names the copy that Gradio keeps.
            raise gradio.Error(str(error).replace(path, Path(path).name), print_exception=False) from None
        colours = {label: place for place, label in enumerate(identifier.classes)}
        track = _panel("track", segments=segments, seconds=recording.seconds, colours=colours)
        yield _panel("answer", answer=answer, clusters=_by_cluster(identifier, answer)), track

    probabilities = "calibrated" if identifier.is_calibrated else "not calibrated"
    with gradio.Blocks(title=name, analytics_enabled=False) as page:
        gradio.HTML(_panel("head", name=name, classes=identifier.classes, probabilities=probabilities, reject=reject))
        # Without the button that shares the recording on the Hub.
        audio = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Recording", buttons=["download"])
        outputs = tuple(gradio.HTML(label=label, apply_default_css=False) for label in ("Answer", "Over time"))
        audio.change(identify, audio, outputs, api_name="identify", show_progress="minimal")
    return page


def _by_cluster(identifier: Identifier, answer: Identification) -> list[tuple[str, float, list[tuple[str, float]]]]:
    """Return (cluster, probability, its classes and their probabilities), most probable first."""
    of_class = dict(zip(answer.classes, answer.probabilities.tolist(), strict=True))
    rows = [
        (cluster, [(name, of_class[name]) for name in answer.classes if name in members])
        for cluster, members in identifier.trained.labels.clusters.items()
    ]
    totals = [(cluster, sum(value for _, value in classes), classes) for cluster, classes in rows if classes]
    return sorted(totals, key=lambda row: -row[1])


def _panel(panel: str, **content: Any) -> str:
    return _PANELS.render(panel=panel, **content)


if __name__ == "__main__":
    _folder = Path(__file__).parent
    make_page(Identifier.from_pretrained(_folder), _folder.resolve().name).launch(**LAUNCH)
