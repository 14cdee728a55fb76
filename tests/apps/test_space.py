"""The page to try a model: served on loopback, asked as a browser asks it, and as app.py of a Space."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix import Identifier
from lid_mapmix.apps import cli
from lid_mapmix.apps.commands.app import make_app_parser
from lid_mapmix.utils.errors import UserError

gradio = pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Return a voice, silence, a file that is no audio, and one with a name that is HTML."""
    folder = tmp_path_factory.mktemp("recordings")
    soundfile.write(folder / "hum.wav", hum(9.0, 200, 0), 16_000)
    soundfile.write(folder / "silence.wav", np.zeros(32_000), 16_000)
    (folder / "text.wav").write_text("no audio")
    return folder


def identifier_of(folder, **arguments):
    return Identifier.from_pretrained(folder, "cpu", detect_speech=False, **arguments)


@pytest.fixture(scope="module")
def ask(trained):
    """Return a function that sends a recording to the page and returns its two panels."""
    from lid_mapmix.apps.space import LAUNCH, make_page

    page = make_page(identifier_of(trained), "<b>mine</b>", reject=0.0)
    _, address, _ = page.launch(**LAUNCH, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    client = gradio_client.Client(address, verbose=False)
    yield lambda path: client.predict(path and gradio_client.handle_file(path), api_name="/identify")
    client.close()
    page.close()


def test_a_recording(ask, trained, recordings):
    answer, track = ask(recordings / "hum.wav")
    expected = identifier_of(trained).file(recordings / "hum.wav")
    found = dict(re.findall(r'<th class="name" scope="row">([^<]+)</th>.*?class="number">([\d.]+)', answer))
    for name, probability in zip(expected.classes, expected.probabilities, strict=True):
        assert float(found[name]) == pytest.approx(probability, abs=5e-4)
    for cluster, members in identifier_of(trained).trained.labels.clusters.items():
        total = sum(p for name, p in zip(expected.classes, expected.probabilities, strict=True) if name in members)
        assert float(found[cluster]) == pytest.approx(total, abs=5e-4)
    assert f'role="status">{expected.answer}<' in answer
    segments = identifier_of(trained).segments(recordings / "hum.wav")
    assert track.count("flex-grow") == len(segments)
    assert all(f"<td>{segment.end:.1f}</td>" in track for segment in segments)


def test_nothing_after_it_was_removed(ask):
    assert ask(None) == ("", "")


def test_what_is_no_audio_is_an_error_without_the_path_of_the_server(ask, recordings):
    with pytest.raises(Exception, match=r"text\.wav") as caught:  # the client's own class
        ask(recordings / "text.wav")
    assert "/" not in str(caught.value).split(":")[0]


def test_no_speech(trained, recordings):
    from lid_mapmix.apps.space import make_page

    page = make_page(Identifier.from_pretrained(trained, "cpu"), "model")
    (identify,) = [function.fn for function in page.fns.values()]
    *_, (answer, track) = identify(str(recordings / "silence.wav"))
    assert "no speech" in answer and "<table>" not in answer
    assert "no speech" in track


def test_names_are_escaped(trained):
    from lid_mapmix.apps.space import make_page

    page = make_page(identifier_of(trained), "<b>mine</b>", reject=0.0)
    head = next(block.value for block in page.blocks.values() if isinstance(block, gradio.HTML))
    assert "&lt;b&gt;mine" in head and "<b>mine" not in head


def test_rejection_needs_dev_scores(own_run):
    from lid_mapmix.apps.space import make_page

    (own_run / "dev_scores.csv").unlink()
    with pytest.raises(UserError, match="dev_scores"):
        make_page(identifier_of(own_run), "model", reject=0.1)


def test_this_machine_only_by_default():
    assert make_app_parser().parse_args(["RUN"]).host == "127.0.0.1"


def test_a_port_that_is_taken(trained, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli.main(["app", str(trained), "--port", str(taken.getsockname()[1])]) == 1
    assert "Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("place", [("--host", "192.0.2.1"), ("--port", "99999")])
def test_a_place_that_cannot_be_listened_on_is_refused_at_once(place, trained, capsys):
    """Gradio tries a hundred ports, for 5 s each."""
    assert cli.main(["app", str(trained), *place]) == 1
    found = capsys.readouterr().err
    assert "cannot listen there" in found
    assert "empty port" not in found


def test_without_gradio(trained, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "lid_mapmix.apps.space", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.main(["app", str(trained)]) == 1
    assert "pip install 'lid-mapmix[app]'" in capsys.readouterr().err


def test_a_space_runs_from_its_own_folder(trained, tmp_path):
    """It has the code that it needs: here, without this checkout on the path."""
    assert cli.main(["export", str(trained), "--out", str(tmp_path / "space"), "--space"]) == 0
    card = (tmp_path / "space" / "README.md").read_text()
    assert "\nsdk: gradio\n" in card.split("---")[1] and "\napp_file: app.py\n" in card.split("---")[1]
    assert "gradio" in (tmp_path / "space" / "requirements.txt").read_text()
    space = shutil.move(tmp_path / "space", tmp_path / "moved")
    program = (
        "import sys; sys.path[:] = [entry for entry in sys.path if 'downstream' not in entry]\n"
        f"sys.path.insert(0, {str(space)!r}); import app, lid_mapmix\n"
        "from pathlib import Path; folder = Path(app.__file__).parent\n"
        "assert Path(lid_mapmix.__file__).is_relative_to(folder), lid_mapmix.__file__\n"
        "print(type(app.make_page(app.Identifier.from_pretrained(folder, 'cpu'), 'moved')).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.strip() == "Blocks", done.stderr
    assert Path(space, "app.py").read_bytes() == Path(cli.__file__).with_name("space.py").read_bytes()
