"""Damaged and hostile files of every kind: a UserError of one line at most, and no file outside their folder is opened.

A minute in the suite; ``LID_MAPMIX_FUZZ_SECONDS=3600 pytest tests/test_fuzz.py`` draws other examples for an hour.
"""

import contextlib
import copy
import json
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import Shape, code, save_wav2vec2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.host.features import build_features
from lid_mapmix.host.upstreams import UpstreamSettings
from lid_mapmix.inference.exported import read_export, write_export
from lid_mapmix.inference.trained import read_run
from lid_mapmix.scoring.calibration import read_calibration
from lid_mapmix.scoring.files.formats import read_output
from lid_mapmix.training.checkpoints import read_checkpoint
from lid_mapmix.utils.errors import UserError

OLD_RUN = Path(__file__).parent / "data" / "old_run" / "run"
TARGETS = 7
LONG = os.environ.get("LID_MAPMIX_FUZZ_SECONDS")
SECONDS = float(LONG or 56) / TARGETS
CANARY = "canary-of-the-reader"
EXTREMES = [
    None, True, -1, 0, 1, 2**40, 10**400, 1e300, float("inf"), float("nan"), "", "x", "\x1b[2J\n", "\ud800", "\0", "-",
    f"../{CANARY}", f"/{CANARY}", f"https://{CANARY}", code(Path(CANARY)), "[(512,10,5)]*3000000000", [], {}, [[]],
    [{}], [1e300], ["x"], {"x": {}}, "x" * 10_000,
]  # fmt: skip
opened: list[str] = []


def _note(event, arguments):
    if event in ("open", "socket.connect", "socket.getaddrinfo") and CANARY in str(arguments[0]):
        opened.append(str(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def audit():
    sys.addaudithook(_note)


def edits():
    """Return a strategy of edits of bytes: place, number of bytes removed, bytes inserted."""
    inserted = st.binary(max_size=8) | st.sampled_from(
        [b"\n", b",", b'"', b"nan", b"1e999", b"\xff", b"\x1b[2J", b"\0"]
    )
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), inserted), min_size=1, max_size=4)


def edited(content, changes):
    for place, removed, inserted in changes:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    return content


def replacements():
    """Return a strategy of replacements in nested values: where, and by what."""
    return st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(EXTREMES)), min_size=1, max_size=3)


def replaced(content, changes):
    """Return nested content with some of its values replaced; keys may be removed by replacing their mapping."""
    content = copy.deepcopy(content)
    for number, value in changes:
        places = list(_places(content))
        if places:
            parent, key = places[number % len(places)]
            parent[key] = copy.deepcopy(value)
    return content


def _places(content):
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(pairs):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def run_fuzz(example, **strategies):
    """Run examples of one target for its part of the time."""
    end = time.monotonic() + SECONDS

    @settings(
        max_examples=int(40 * SECONDS),
        database=None,
        derandomize=LONG is None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(**strategies)
    def examples(**drawn):
        if time.monotonic() > end:
            return
        opened.clear()
        with contextlib.suppress(UserError):
            example(**drawn)
        assert not opened

    examples()


def test_manifests(corpus, tmp_path):
    content = (corpus / "train.csv").read_bytes()
    path = tmp_path / "train.csv"

    def example(changes):
        path.write_bytes(edited(content, changes))
        read_manifest(path)

    run_fuzz(example, changes=edits())


def test_score_files(tmp_path):
    content = b"\n".join((OLD_RUN / "test_scores.csv").read_bytes().splitlines()[:12])
    path = tmp_path / "scores.csv"

    def example(changes):
        path.write_bytes(edited(content, changes))
        read_output(path)

    run_fuzz(example, changes=edits())


def test_calibrations(tmp_path):
    text = (OLD_RUN / "calibration.json").read_bytes()
    path = tmp_path / "calibration.json"

    def example(changes, values):
        path.write_bytes(edited(text, changes) if changes else json.dumps(replaced(json.loads(text), values)).encode())
        read_calibration(path)

    run_fuzz(example, changes=st.none() | edits(), values=replacements())


def test_exports(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    write_export(folder, read_run(OLD_RUN, "cpu"), {})
    text = (folder / "config.json").read_bytes()

    def example(changes, values):
        content = edited(text, changes) if changes else json.dumps(replaced(json.loads(text), values)).encode()
        (folder / "config.json").write_bytes(content)
        read_export(folder, "cpu")

    run_fuzz(example, changes=st.none() | edits(), values=replacements())


def test_checkpoints_of_runs(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "dev-best.ckpt"
    states = read_checkpoint(OLD_RUN / "dev-best.ckpt")
    plain = {name: value for name, value in states.items() if name not in ("Args", "Config")}
    plain = {name: value for name, value in plain.items() if name in ("Downstream", "Featurizer", "Upstream")}

    def example(values, arguments):
        config = replaced(states["Config"], values) if not arguments else states["Config"]
        args = replaced(vars(states["Args"]), values) if arguments else vars(states["Args"])
        torch.save({**plain, "Args": Namespace(**args), "Config": config}, path)
        read_run(folder, "cpu")

    run_fuzz(example, values=replacements(), arguments=st.booleans())


def test_settings_of_weights(tmp_path):
    path = save_wav2vec2(tmp_path / "weights.pt", Shape(layers=1))
    content = torch.load(path, weights_only=True)
    args = Namespace(
        upstream="wav2vec2_local", upstream_ckpt=str(path), upstream_model_config=None, upstream_trainable=False,
        upstream_feature_selection="hidden_states", upstream_layer_selection=None, upstream_feature_normalize=False,
        device="cpu", hub="torch",
    )  # fmt: skip

    def example(values):
        torch.save({**content, "model_cfg": replaced(content["model_cfg"], values)}, path)
        build_features(args, {}, UpstreamSettings())

    run_fuzz(example, values=replacements())
