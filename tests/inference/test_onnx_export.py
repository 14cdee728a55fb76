"""Runs as one ONNX file: the probabilities of the Identifier, in onnxruntime, without torch."""

import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from helpers.checkpoints import Shape, save_hugging_face, save_wav2vec2
from helpers.launching import ROOT
from lid_mapmix import Identifier
from lid_mapmix.apps import cli
from lid_mapmix.config.schema import EvaluationConfig, ModelConfig
from lid_mapmix.data.labels import Labels
from lid_mapmix.host.features import build_features
from lid_mapmix.host.precision import Casting, Precision
from lid_mapmix.host.upstreams import UpstreamSettings
from lid_mapmix.inference import onnx_export
from lid_mapmix.inference.onnx_export import ONNX_NAME, write_onnx
from lid_mapmix.inference.trained import Trained, make_model
from lid_mapmix.scoring.calibration import Calibration, write_calibration
from lid_mapmix.scoring.choices import Average, Kind
from lid_mapmix.utils.digests import file_digest
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import choose_checkpoint

# Of one frame to 9 windows of 6 s: with ends within a frame, odd and even numbers of frames, and ends of windows.
LENGTHS = [400, 401, 559, 560, 719, 720, 721, 2640, 5001, 9039, 32_000, 32_001, 64_000]
LENGTHS += [95_999, 96_000, 96_001, 144_000, 144_001, 200_003, 480_000]
ONE_LAYER = Shape(stable=True, layers=1)
PAGE = ROOT / "docs" / "onnx.md"


def export(run, out, *flags):
    return cli.main(["export", str(run), "--out", str(out), "--onnx", *map(str, flags)])


def noise(samples):
    """White and brown noise in turn, so that windows differ."""
    white = 0.1 * np.random.default_rng(samples).standard_normal(samples)
    return np.where(np.arange(samples) // 30_000 % 2, 0.05 * np.cumsum(white), white).astype(np.float32)


def calibration_of(classes, longest):
    """Return a calibration that depends on duration, up to so many seconds."""
    size = len(classes)
    matrix, offset = 1.5 * np.eye(size) + 0.1, np.linspace(0.5, -0.5, size)
    prior = np.arange(size, 0, -1) / np.arange(size + 1).sum()
    return Calibration.of(Kind.FULL, classes, matrix, offset, prior, exponent=0.5, seconds=(2.0, 0.3, longest))


def untrained(name, weights=None, encoder="none", **evaluation):
    """Return a run on an upstream, as if it had been trained and calibrated, with the weights that it starts from.

    Those of the last layer are larger, around the logits of some audio, so that probabilities of windows differ.
    """
    selection = Namespace(
        upstream=name, upstream_ckpt=weights and str(weights), upstream_model_config=None, upstream_trainable=False,
        upstream_feature_selection="hidden_states", upstream_layer_selection=None, upstream_feature_normalize=False,
        device="cpu", hub="torch",
    )  # fmt: skip
    features = build_features(selection, {}, UpstreamSettings())
    labels, config = Labels({"x": ("xaa", "xbb"), "y": ("yaa",)}), ModelConfig(encoder=encoder, encoder_channels=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, count = make_model(labels, features, config), torch.tensor([60_000])
    model.classifier[-1].weight.data *= 100
    with torch.no_grad():
        latents = model.latents(features([torch.from_numpy(noise(60_000))]), torch.zeros_like(count), count)
        model.classifier[-1].bias.data -= model.logits(latents)[0]
    return Trained(
        *(labels, features, model, EvaluationConfig(**evaluation), config, selection),
        **{"precision": "fp32", "calibration": calibration_of(labels.classes, longest=20.0)},
        **dict.fromkeys(("confidence", "novelty", "variant")),
    )


def differences(folder, identifier, lengths=LENGTHS):
    """Return the maximum difference of probabilities for each length."""
    session = onnxruntime.InferenceSession(folder / ONNX_NAME)
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    found = []
    for wav in map(noise, lengths):
        answer = identifier(wav, 16_000)
        expected = dict(zip(answer.classes, answer.probabilities, strict=True))
        probabilities = session.run(["probabilities"], {"waveform": wav[None]})[0][0]
        found.append(max(abs(probabilities - [expected[label] for label in labels])))
    return np.array(found)


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """Return a copy of a run on filter banks, with a calibration that depends on duration; not to be changed."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run")
    calibration = calibration_of(Identifier.from_pretrained(run, "cpu").classes, longest=25.0)
    write_calibration(run / "calibration.json", calibration)
    return run


@pytest.fixture(scope="module")
def exported(calibrated, tmp_path_factory):
    """Return the export of that run; not to be changed."""
    out = tmp_path_factory.mktemp("onnx") / "dialects"
    assert export(calibrated, out) == 0
    return out


def test_probabilities_are_those_of_the_identifier(exported, calibrated):
    assert len(LENGTHS) == 20
    for folder, lengths in ((calibrated, LENGTHS), (exported, [9_039])):
        identifier = Identifier.from_pretrained(folder, "cpu", detect_speech=False)
        assert differences(exported, identifier, lengths).max() < 1e-4


def test_metadata(exported, calibrated):
    session = onnxruntime.InferenceSession(exported / ONNX_NAME)
    about = session.get_modelmeta().custom_metadata_map
    identifier = Identifier.from_pretrained(calibrated, "cpu")
    assert tuple(json.loads(about["labels"])) == identifier.classes
    clusters = {name: tuple(members) for name, members in json.loads(about["clusters"]).items()}
    assert Labels(clusters) == identifier.trained.labels
    assert (about["sample_rate"], about["min_samples"]) == ("16000", "400")
    assert (about["window_samples"], about["hop_samples"], about["average"]) == ("96000", "48000", "probabilities")
    assert about["checkpoint"] == f"sha256:{file_digest(choose_checkpoint(calibrated, 'inference'))}"
    assert json.loads(about["class_prior"]) == [0.4, 0.3, 0.2, 0.1]
    assert "voice-activity detection, resampling" in about["not_done"]
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE))))
    assert about.keys() == table
    (waveform,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert waveform.shape[0] == 1
    assert isinstance(waveform.shape[1], str)
    assert probabilities.shape == [1, 4]


def test_no_path_of_this_machine_is_written(exported):
    assert str(ROOT).encode() not in (exported / ONNX_NAME).read_bytes()
    assert b"site-packages" not in (exported / ONNX_NAME).read_bytes()


def test_what_the_identifier_refuses_has_no_probabilities(exported):
    session = onnxruntime.InferenceSession(exported / ONNX_NAME)
    for value, place in ((np.nan, 0), (np.inf, 20_000), (-np.inf, 150_000), (1e11, 150_000)):
        wav = noise(200_000)
        wav[place] = value
        assert np.isnan(session.run(None, {"waveform": wav[None]})[0]).all()
    with pytest.raises(Exception, match="Status Message"):
        session.run(None, {"waveform": noise(399)[None]})


def test_loading_and_running_prints_nothing(exported, capfd):
    """No warning of onnxruntime about shapes or names."""
    session = onnxruntime.InferenceSession(exported / ONNX_NAME)
    for samples in (400, 96_001, 480_000, 9_039):
        session.run(None, {"waveform": noise(samples)[None]})
    assert capfd.readouterr() == ("", "")


def test_the_page_runs_without_torch(exported, calibrated, tmp_path):
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    assert len(list(filter(None, code.splitlines()))) <= 15
    (tmp_path / "use.py").write_text(
        "import sys\nfor name in ('torch', 'torchaudio', 's3prl', 'lid_mapmix'):\n    sys.modules[name] = None\n" + code
    )
    shutil.copytree(exported, tmp_path / "dialects")
    for name, samples, rate in (
        ("good.wav", 200_000, 16_000),
        ("short.wav", 399, 16_000),
        ("fast.wav", 20_000, 44_100),
    ):
        soundfile.write(tmp_path / name, noise(samples), rate, subtype="FLOAT")

    def use(name):
        command = [sys.executable, "-I", "use.py", name]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    answer = Identifier.from_pretrained(calibrated, "cpu", detect_speech=False).file(tmp_path / "good.wav")
    top = [f"{name} {value:.3f}" for name, value in zip(answer.classes[:3], answer.probabilities[:3], strict=True)]
    assert use("good.wav").stdout.splitlines() == top
    assert "expected 400+ samples at 16000 Hz, found 399 at 16000 Hz" in use("short.wav").stderr
    assert "found 20000 at 44100 Hz" in use("fast.wav").stderr


@pytest.mark.parametrize(
    ("name", "save", "encoder", "evaluation"),
    [
        (
            "hf_auto",
            lambda path: save_hugging_face(path, "whisper", ONE_LAYER),
            "xvector",
            {"window_seconds": 2.0, "hop_seconds": 2.0},
        ),
        ("wav2vec2_local", lambda path: save_wav2vec2(path, ONE_LAYER), "none", {}),
        (
            "fbank",
            lambda path: None,
            "ecapa",
            {"average": "log_likelihoods", "window_seconds": 2.0, "hop_seconds": 0.9},
        ),
    ],
)
def test_upstreams(name, save, encoder, evaluation, tmp_path):
    """A spectrogram's, a native one, and one with another average; the network that was exported still works."""
    identifier = Identifier(untrained(name, save(tmp_path / "weights"), encoder, **evaluation), detect_speech=False)
    before = identifier(noise(9_039), 16_000).probabilities
    write_onnx(tmp_path / ONNX_NAME, identifier.trained)
    assert differences(tmp_path, identifier).max() < 1e-4
    used = identifier.trained.evaluation
    for change in ({"average": next(each for each in Average if each is not used.average)}, {"hop_seconds": 0.6}):
        other = replace(identifier.trained, evaluation=replace(used, **change))
        assert differences(tmp_path, Identifier(other, detect_speech=False), LENGTHS[-2:]).max() > 1e-4
    np.testing.assert_array_equal(identifier(noise(9_039), 16_000).probabilities, before)


def refusal(run, out, capsys, *flags):
    capsys.readouterr()
    assert export(run, out, *flags) == 1
    assert not list(out.parent.iterdir())
    return capsys.readouterr().err


def test_an_upstream_with_a_constant_length_is_one_line(tmp_path):
    with pytest.raises(UserError, match="upstream mfcc: expected a run that can be exported to ONNX, found: ") as found:
        write_onnx(tmp_path / ONNX_NAME, untrained("mfcc"))
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_or_too_large_is_one_line(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(onnx_export, "_MAX_BYTES", 1_000)
    assert "GB of weights; a file may have 0.0 GB" in refusal(trained, tmp_path / "out" / "dialects", capsys)
    monkeypatch.setattr(onnx_export, "_PACKAGES", ("onnx", "no_such_package"))
    error = refusal(trained, tmp_path / "out" / "dialects", capsys)
    assert "--onnx needs no_such_package, not installed. Run 'pip install \"lid-mapmix[onnx]\"'" in error


@pytest.fixture
def converted(exported, monkeypatch):
    """Let the conversion return what it returned for `exported`, and return that."""
    import onnx_ir

    program = onnx_ir.load(exported / ONNX_NAME)

    class Program:
        model = program

        def save(self, path, external_data):
            onnx_ir.save(program, path)

    monkeypatch.setattr(onnx_export, "_convert", lambda network: Program())
    return exported


def test_a_file_that_differs_is_not_written(own_run, tmp_path, converted):
    """The calibration is that of another run."""
    trained = Identifier.from_pretrained(own_run, "cpu").trained
    with pytest.raises(UserError, match=r"found: probabilities that differ by .* from the run's for 400 samples"):
        write_onnx(tmp_path / "out" / ONNX_NAME, trained)
    assert not list((tmp_path / "out").iterdir())


def test_a_run_in_bf16_is_compared_in_fp32(calibrated, tmp_path, converted):
    trained = Identifier.from_pretrained(calibrated, "cpu").trained
    trained.features.autocast = Casting(Precision.BF16, "cpu").autocast
    assert differences(converted, Identifier(trained, detect_speech=False), [9_039]).max() > 1e-4
    write_onnx(tmp_path / ONNX_NAME, trained)


def test_an_interrupted_export_leaves_nothing(calibrated, tmp_path, converted, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_export, "_compare", interrupt)
    assert export(calibrated, tmp_path / "out" / "dialects") == 130
    assert not list((tmp_path / "out").iterdir())
