"""A run whose classes and files have hostile names, with everything in its folder that a report can show."""

import json
import shutil

import pytest
from helpers.launching import train
from helpers.synthetic import make_corpus

# A slash makes folders of it: the audio's paths, which are the utterances' ids, hold whole elements.
HOSTILE = (
    """xaa-<script>hacked = "one"</script>""",
    "xaa-&lt;b&gt;&amp;'two'",
    """ybb-"><img src=x onerror=hacked=1>""",
    "ybb-{{ 7 * 7 }}",
)


def fabricate(folder):
    """Add a truncation curve and intervals to the folder of a run that has scored test."""
    metrics = json.loads((folder / "test_metrics.json").read_text())
    of_length = {**metrics["overall"], "long_enough": 12}
    seconds = {"10": {**of_length, "long_enough": 0}, "0.5": {**of_length, "acc": 0.25}}
    (folder / "test_truncation.json").write_text(json.dumps({"split": "test", "seconds": seconds}))
    metrics["intervals"] = {"acc": [0.125, 0.875]}
    (folder / "test_metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="session")
def hostile_corpus(tmp_path_factory):
    """Return the folder of a corpus with hostile names; not to be changed."""
    return make_corpus(tmp_path_factory.mktemp("hostile"), classes=HOSTILE)


@pytest.fixture(scope="session")
def hostile_run(hostile_corpus, tmp_path_factory):
    """Return the folder of a complete run on it; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "<b>hostile & run"
    assert train(hostile_corpus, folder) == 0
    fabricate(folder)
    return folder


@pytest.fixture
def own_hostile_run(hostile_run, tmp_path):
    """Return a copy of that run that a test may change."""
    return shutil.copytree(hostile_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.ckpt"))
