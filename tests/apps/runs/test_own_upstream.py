"""``--upstream-from FILE.py``: the example of docs/upstreams.md trains, predicts and is exported."""

import re

import numpy as np
import pytest
from helpers.launching import ROOT, train
from helpers.synthetic import hum
from lid_mapmix import Identifier
from lid_mapmix.apps.cli import main
from lid_mapmix.host import registry
from lid_mapmix.utils.errors import UserError

(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/upstreams.md").read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def forgotten():
    """Let each command start without the upstreams of the one before, as a new process would."""
    registry.own_upstreams().clear()
    yield registry.own_upstreams().clear
    registry.own_upstreams().clear()


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(EXAMPLE)
    return path


def answer(folder):
    return Identifier.from_pretrained(folder, "cpu", detect_speech=False).batch([hum(2.0, 200, 0)], 16_000)


def test_the_example_of_the_page(mine, corpus, tmp_path, forgotten, capsys):
    settings = {"runner.total_steps": 2, "downstream_expert.mapmix.mix": "none"}
    run, out = tmp_path / "run", tmp_path / "out"
    flags = ["-u", "frames", "--upstream-from", mine, "-v", "baseline"]
    assert train(corpus, run, *flags, settings=settings) == 0
    assert str(mine) not in "".join(path.read_text() for path in run.glob("*.yaml"))  # a checkpoint names no code
    (expected,) = answer(run)

    forgotten()
    capsys.readouterr()
    assert main(["export", str(run), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "unknown upstream 'frames': for example fbank or xlsr_53; your own needs --upstream-from FILE" in error
    assert main(["export", str(run), "--out", str(out), "--upstream-from", str(mine)]) == 0
    assert not list(out.glob("*.py"))

    forgotten()
    with pytest.raises(UserError, match="your own needs --upstream-from FILE"):
        answer(out)
    registry.add_upstreams(mine)
    (found,) = answer(out)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)

    forgotten()
    assert train(corpus, run, *flags, "-a", settings=settings) == 0
    assert main(["truncation", str(run), "--seconds", "1", "--upstream-from", str(mine), "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "expected functions that build upstreams, found none"),
        ("from os.path import join\n\ndef _helper(): ...", "expected functions that build upstreams, found none"),
        ("def xlsr_53(**kwargs): ...", "found xlsr_53, which is another upstream"),
        ("def mms_1b(**kwargs): ...", "found mms_1b, which is another upstream"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'. Correct the file"),
        ("def frames(", "SyntaxError: "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(text, says, mine):
    mine.write_text(text)
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        registry.add_upstreams(mine)
    assert "\n" not in str(caught.value)
    assert not registry.own_upstreams()


@pytest.mark.parametrize("name", ["none.py", "mine.txt", "."])
def test_a_file_that_is_not_there_is_one_line(name, tmp_path):
    (tmp_path / "mine.txt").write_text(EXAMPLE)
    with pytest.raises(UserError, match=r"expected a Python file \(.py\), found none"):
        registry.add_upstreams(tmp_path / name)
