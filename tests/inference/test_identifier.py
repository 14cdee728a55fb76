"""Identifying with a run: the scores of an evaluation, whatever form the audio comes in, and nothing but the run."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from helpers.launching import ROOT, run, run_python
from helpers.synthetic import CLASSES, hum
from lid_mapmix import Identifier
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.inference.answer import Outcome
from lid_mapmix.inference.recording import Recording
from lid_mapmix.scoring import calibration
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.scoring.open_set import fit_novelty, write_novelty
from lid_mapmix.utils.errors import UserError
from torchaudio.functional import resample


@pytest.fixture(scope="module")
def identifier(trained):
    return Identifier.from_pretrained(trained, "cpu", detect_speech=False)


@pytest.fixture(scope="module")
def wav():
    return hum(1.0, 180, 7)


def test_the_scores_of_an_evaluation(identifier, trained, corpus):
    scores, manifest = read_scores(trained / "test_scores.csv"), read_manifest(corpus / "test.csv")
    recordings = [Recording.of_utterance(manifest, number) for number in range(len(manifest))]
    answers = list(identifier.identify(recordings))
    assert [answer.name for answer in answers] == scores.ids.tolist()
    found = np.stack([answer.uncalibrated for answer in answers])
    np.testing.assert_allclose(found, scores.probabilities, atol=1e-5)
    assert [scores.classes[row.argmax()] for row in found] == scores.predictions.tolist()
    calibrated = np.exp(
        calibration.read_calibration(trained / "calibration.json").log_probabilities(scores.log_probabilities)
    )
    assert [answer.label for answer in answers] == [scores.classes[row.argmax()] for row in calibrated]


def test_the_scores_of_an_evaluation_of_several_windows(trained, tmp_path):
    """Files of other rates and channels, of one window and of many."""
    columns = {"audiopath": [], "class": [], "seconds": []}
    for number, (seconds, rate) in enumerate([(0.4, 8_000), (13.7, 16_000), (7.0, 44_100), (6.0, 16_000)]):
        signal = hum(seconds, 120 + 60 * number, number, rate)
        soundfile.write(tmp_path / f"{number}.wav", np.stack([signal, 0.5 * signal], axis=1), rate)
        columns["audiopath"].append(f"{number}.wav")
        columns["class"].append(CLASSES[0])
        columns["seconds"].append(seconds)
    write_manifest(tmp_path / "test.csv", columns)
    copy = shutil.copytree(trained, tmp_path / "run")
    flags = ["-m", "evaluate", "-t", "test", "-e", copy, "--data", tmp_path, "--device", "cpu"]
    assert run(*flags) == 0
    expected = read_scores(copy / "test_scores.csv").probabilities
    identifier = Identifier.from_pretrained(copy, "cpu", detect_speech=False)
    found = [identifier.file(tmp_path / name).uncalibrated for name in columns["audiopath"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_an_answer_holds(identifier, wav):
    answer = identifier(wav, 16_000)
    assert answer.outcome is Outcome.IDENTIFIED
    assert answer.label == answer.answer == answer.classes[0]
    assert sorted(answer.classes) == sorted(CLASSES)
    assert np.all(np.diff(answer.probabilities) <= 0)
    assert answer.probabilities.sum() == pytest.approx(1)
    assert answer.cluster == answer.label.split("-")[0]
    assert answer.as_dict(2)["probabilities"] == dict(zip(answer.classes[:2], answer.probabilities[:2], strict=True))


@pytest.mark.parametrize(
    "given",
    [
        torch.from_numpy,
        lambda wav: wav[None],
        lambda wav: np.stack([wav, wav]),
        lambda wav: np.stack([wav, wav], axis=1),
        lambda wav: wav.astype(np.float64),
        lambda wav: wav[::-1].copy()[::-1],
        lambda wav: wav.tolist(),
        lambda wav: torch.from_numpy(wav).requires_grad_(),
        lambda wav: np.round(wav * 2**31).astype(np.int32),
        lambda wav: wav.astype(">f4"),
        lambda wav: np.broadcast_to(wav, wav.shape),
    ],
)
def test_forms_of_audio(identifier, wav, given):
    found = identifier(given(wav), 16_000).uncalibrated
    np.testing.assert_allclose(found, identifier(wav, 16_000).uncalibrated, atol=1e-5)


def test_channels_are_mixed_and_rates_changed(identifier, wav):
    other = hum(1.0, 300, 8)
    mixed = identifier(np.stack([wav, other]), 16_000).uncalibrated
    np.testing.assert_allclose(mixed, identifier((wav + other) / 2, 16_000).uncalibrated, atol=1e-6)
    opposite = identifier(np.stack([wav, -wav]), 16_000).uncalibrated
    np.testing.assert_allclose(opposite, identifier(wav, 16_000).uncalibrated, atol=1e-6)
    slow = resample(torch.from_numpy(wav), 16_000, 8_000)
    expected = identifier(resample(slow, 8_000, 16_000), 16_000).uncalibrated
    np.testing.assert_allclose(identifier(slow, 8_000).uncalibrated, expected, atol=1e-6)


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_audio_that_may_not_be_written_to_gives_no_warning(identifier, wav):
    before = wav.copy()
    held = wav.view()
    held.flags.writeable = False
    identifier(held, 16_000)
    np.testing.assert_array_equal(wav, before)


@pytest.mark.parametrize(
    ("given", "rate", "named"),
    [
        (np.zeros(399, np.float32), 16_000, "at least 400"),
        (np.zeros((2, 2, 500), np.float32), 16_000, "found shape"),
        (np.full(500, np.nan, np.float32), 16_000, "NaN"),
        (np.zeros(500, np.uint8), 16_000, "int16 or int32"),
        (np.zeros(500, np.float32), 0, "sample rate above 0"),
        (np.zeros(500, np.float32), float("nan"), "sample rate above 0"),
        (np.zeros(0, np.float32), 16_000, "at least 400"),
        (np.zeros((0, 2), np.float32), 16_000, "at least 400"),
        ("recording.wav", 16_000, "expected samples as a NumPy array or torch.Tensor, found str.*Identifier.file"),
        (None, 16_000, "expected samples as a NumPy array or torch.Tensor, found "),
        ([[0.1, 0.2], [0.3]], 16_000, "expected samples as a NumPy array or torch.Tensor, found "),
        (np.full(500, 1e37), 16_000, "above 1e10"),
        (np.full(500, 1e300), 16_000, "expected finite samples, found NaN or infinity"),
        (np.zeros(500, np.float32), None, "sample rate above 0"),
        (np.zeros(500, np.float32), "16000", "sample rate above 0"),
        (np.zeros(500, np.float32), np.array([16_000, 8_000]), "sample rate above 0"),
    ],
)
def test_audio_that_cannot_be_identified(identifier, given, rate, named):
    with pytest.raises(UserError, match=named):
        identifier(given, rate)


def test_400_samples_are_enough(identifier):
    assert identifier(np.ones(400, np.float32), 16_000).label in CLASSES


def test_a_batch_is_each_of_them_alone(identifier):
    wavs = [hum(seconds, 150, number) for number, seconds in enumerate([0.5, 14.0, 6.0, 0.5])]
    for wav, answer in zip(wavs, identifier.batch(wavs, 16_000), strict=True):
        np.testing.assert_allclose(answer.uncalibrated, identifier(wav, 16_000).uncalibrated, atol=1e-5)


def test_a_long_recording_is_read_in_windows(identifier):
    """No part that is read is longer than a window, and no more of them are there at once than a batch holds."""
    asked = []

    def read(start, count):
        asked.append((start, count))
        return np.full(count, 0.1, np.float32)

    (answer,) = identifier.identify([Recording("long", 16_000 * 600, read)])
    assert answer.seconds == 600
    assert max(count for _, count in asked) == 6 * 16_000
    assert len(asked) == 199
    assert max(start + count for start, count in asked) == 16_000 * 600


def test_a_recording_that_breaks_off_does_not_stop_the_others(identifier, wav):
    def read(start, count):
        raise UserError("broken: is truncated")

    sound = Recording.of_samples(wav, 16_000, "sound")
    first, second = identifier.identify([Recording("broken", 16_000, read), sound])
    assert str(first) == "broken: is truncated"
    assert second.label in CLASSES


def test_silence_is_no_class(trained):
    identifier = Identifier.from_pretrained(trained, "cpu")
    answer = identifier(np.zeros(32_000), 16_000)
    assert (answer.outcome, answer.label, answer.classes, answer.answer) == (Outcome.NO_SPEECH, None, (), "no speech")
    assert answer.as_dict()["probabilities"] == {}


def test_a_calibration_beside_the_run_is_used(own_run, identifier, wav):
    (own_run / "calibration.json").unlink(missing_ok=True)
    assert not Identifier.from_pretrained(own_run, "cpu").is_calibrated
    scores = read_scores(own_run / "dev_scores.csv")
    fitted = calibration.Calibration(
        calibration.Kind.TEMPERATURE, scores.classes, tuple(map(tuple, np.eye(4) / 2)), (0.0,) * 4, (0.25,) * 4
    )
    calibration.write_calibration(own_run / "calibration.json", fitted)
    calibrated = Identifier.from_pretrained(own_run, "cpu", detect_speech=False)
    assert calibrated.is_calibrated
    answer = calibrated(wav, 16_000)
    plain = identifier(wav, 16_000).uncalibrated
    np.testing.assert_allclose(answer.uncalibrated, plain, atol=1e-6)
    np.testing.assert_allclose(answer.probabilities, np.sort(plain**0.5)[::-1] / (plain**0.5).sum(), atol=1e-6)


def test_a_calibration_of_other_classes_is_one_line(own_run):
    fitted = calibration.Calibration(calibration.Kind.TEMPERATURE, ("a", "b"), ((1, 0), (0, 1)), (0, 0), (0.5, 0.5))
    calibration.write_calibration(own_run / "calibration.json", fitted)
    with pytest.raises(UserError, match="expected a calibration of the run's classes, found one of others"):
        Identifier.from_pretrained(own_run, "cpu")


def test_rejection_follows_dev(own_run, wav):
    (own_run / "calibration.json").unlink(missing_ok=True)
    identifier = Identifier.from_pretrained(own_run, "cpu", detect_speech=False)
    tops = np.exp(read_scores(own_run / "dev_scores.csv").log_probabilities.max(axis=1))
    top = identifier(wav, 16_000).probabilities[0]
    share = (tops < top).mean()
    assert identifier(wav, 16_000, reject=max(share - 0.2, 0)).outcome is Outcome.IDENTIFIED
    other = identifier(wav + hum(1.0, 500, 3), 16_000)
    certainly = identifier(wav, 16_000, reject=0.999)
    assert (certainly.outcome is Outcome.REJECTED) == (top < np.quantile(tops, 0.999))
    assert other.classes  # the ranking is there in either case
    (own_run / "dev_scores.csv").unlink()
    with pytest.raises(UserError, match="dev_scores"):
        Identifier.from_pretrained(own_run, "cpu")(wav, 16_000, reject=0.1)
    with pytest.raises(UserError, match="fraction from 0"):
        identifier(wav, 16_000, reject=1.5)


def test_novelty_is_the_distance_from_dev_in_windows(trained, corpus):
    """Computed again from the features of each window."""
    identifier = Identifier.from_pretrained(trained, "cpu", detect_speech=False)
    novelty, model = identifier.trained.novelty, identifier.trained.model
    wav = hum(14.0, 333, 5).astype(np.float32)
    windows = [wav[:96_000], wav[48_000:144_000], wav[96_000:192_000], wav[-96_000:]]
    counts = torch.full((4,), 96_000)
    with torch.inference_mode():
        features = identifier.trained.features([torch.from_numpy(window) for window in windows])
        latent = model.latents(features, torch.zeros_like(counts), counts).numpy().mean(axis=0)
    cosines = novelty.latents @ latent / np.linalg.norm(latent)
    answer = identifier(wav, 16_000)
    assert answer.novelty * novelty.usual([14.0]) == pytest.approx(1 - cosines.max(), abs=1e-5)
    assert answer.as_dict()["novelty"] == answer.novelty
    assert ("unlike training data" in answer.remarks) == (answer.novelty > 1)


def test_other_sounds_are_rejected_and_those_of_dev_are_not(trained, corpus):
    identifier = Identifier.from_pretrained(trained, "cpu", detect_speech=False)
    noise = [np.random.default_rng(seed).normal(0, 0.1, 48_000) for seed in range(6)]
    recordings = [Recording.of_samples(wav, 16_000) for wav in noise]
    found = identifier.reject_with(recordings[:3])
    dev = identifier.trained.novelty.of_dev
    assert f"100.0% of 3 others and {(dev > identifier.max_novelty).mean():.1%} of" in found
    answers = identifier.batch(noise[3:], 16_000)
    assert [answer.outcome for answer in answers] == [Outcome.REJECTED] * 3
    assert all("unlike training data" in answer.remarks for answer in answers)


def test_without_novelty_nothing_is_marked(own_run, wav):
    (own_run / "novelty.safetensors").unlink()
    identifier = Identifier.from_pretrained(own_run, "cpu", detect_speech=False)
    assert identifier(wav, 16_000).novelty is None
    with pytest.raises(UserError, match=r"a run with novelty\.safetensors"):
        identifier.reject_with([Recording.of_samples(wav, 16_000)])


def test_novelty_of_another_network_is_one_line(own_run):
    dev = np.random.default_rng(0).standard_normal((4, 3))
    write_novelty(own_run / "novelty.safetensors", fit_novelty(dev, np.arange(4), np.ones(4), *np.zeros((2, 4), int)))
    with pytest.raises(UserError, match="not of latents of size"):
        Identifier.from_pretrained(own_run, "cpu")


def test_the_run_alone_is_enough(own_run, own_corpus, wav, tmp_path):
    """The last states-*.ckpt where there is no best one, and no data anywhere."""
    expected = Identifier.from_pretrained(own_run, "cpu", detect_speech=False)(wav, 16_000)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(own_run / "dev-best.ckpt", alone / "states-7.ckpt")
    found = Identifier.from_pretrained(alone, "cpu", detect_speech=False)(wav, 16_000)
    np.testing.assert_array_equal(found.uncalibrated, expected.uncalibrated)


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"expected states-\*\.ckpt or dev-best\.ckpt, found neither"):
        Identifier.from_pretrained(tmp_path)


def test_a_device_that_is_not_there_is_one_line(trained):
    with pytest.raises(UserError, match="--device nonsense"):
        Identifier.from_pretrained(trained, "nonsense")


def test_other_class_priors(trained, wav):
    """The probabilities are those of training's priors times the ratio of the priors."""
    with_training = Identifier.from_pretrained(trained, "cpu")(wav, 16_000)
    rare = dict(zip(CLASSES, (0.97, 0.01, 0.01, 0.01), strict=True))
    found = Identifier.from_pretrained(trained, "cpu", prior=rare)(wav, 16_000)
    training = dict(zip(CLASSES, calibration.read_calibration(trained / "calibration.json").prior, strict=True))
    expected = {
        name: value * rare[name] / training[name]
        for name, value in zip(with_training.classes, with_training.probabilities, strict=True)
    }
    total = sum(expected.values())
    for name, value in zip(found.classes, found.probabilities, strict=True):
        assert value == pytest.approx(expected[name] / total)
    for prior in ("flat", {"a": 1.0}, {**rare, CLASSES[0]: 0.0}):
        with pytest.raises(UserError, match="prior: expected"):
            Identifier.from_pretrained(trained, "cpu", prior=prior)


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, lid_mapmix; assert 'torch' not in sys.modules; "
        "lid_mapmix.Identifier; assert 'torch' in sys.modules"
    )
    process = run_python("-c", code, path=[ROOT / "downstream"])
    assert process.returncode == 0, process.stderr
