"""Runs of a native upstream by the command line, in each precision a CPU has."""

import hashlib
import json

import pytest
import torch
from helpers.checkpoints import local, save_initial
from helpers.launching import overrides, run
from lid_mapmix.host.precision import Casting, Precision, read_precision
from lid_mapmix.model import DialectClassifier
from lid_mapmix.utils.errors import UserError

SETTINGS = {
    "optimizer.lr": 1e-3,
    "downstream_expert.data.batch_size": 4,
    "downstream_expert.evaluation.mix_lengths": False,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from lid_mapmix.host import compat, registry

    compat.apply()
    registry.install_lazy_hub()
    folder = tmp_path_factory.mktemp("upstreams")
    return {kind: save_initial(folder / f"{kind}.pt", kind, dropout=0.1) for kind in ("wav2vec2", "xlsr")}


@pytest.fixture
def train(weights, corpus):
    """Return a function that fine-tunes a kind with latent mixup and returns the exit status."""

    def fine_tune(folder, kind, *flags, variant="latent_random", **settings):
        where = ["-u", local(kind), "-k", weights[kind], "--data", corpus, "-p", folder, "--device", "cpu"]
        return run(*where, "-v", variant, "-o", overrides({**SETTINGS, **settings}), *flags)

    return fine_tune


def content(path):
    """Return the weights and the optimizer of a checkpoint, and the digest of all their bytes."""
    states = torch.load(path, weights_only=True)
    tensors = {f"{part}.{name}": value for part in ("Upstream", "Downstream") for name, value in states[part].items()}
    moments = {
        f"{number}.{name}": value
        for number, values in states["Optimizer"]["state"].items()
        for name, value in values.items()
    }
    tensors = {name: value for name, value in {**tensors, **moments}.items() if isinstance(value, torch.Tensor)}
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return tensors, digest.hexdigest()


@pytest.mark.parametrize("kind", ["wav2vec2", "xlsr"])
def test_a_resumed_bf16_run_ends_with_the_same_weights_bit_for_bit(kind, train, tmp_path):
    bf16 = {"runner.precision": "bf16", "runner.save_step": 1, "runner.max_keep": 99}
    assert train(tmp_path / "whole", kind, **bf16) == 0
    steps = sorted(int(path.stem.split("-")[1]) for path in (tmp_path / "whole").glob("states-*.ckpt"))
    assert len(steps) > 3
    middle, last = tmp_path / "whole" / f"states-{steps[1]}.ckpt", f"states-{steps[-1]}.ckpt"
    assert run("-e", middle, "-p", tmp_path / "resumed", "--device", "cpu") == 0
    tensors, digest = content(tmp_path / "whole" / last)
    assert content(tmp_path / "resumed" / last)[1] == digest
    assert {value.dtype for value in tensors.values()} == {torch.float32}, "weights and moments stay float32"
    assert train(tmp_path / "fp32", kind) == 0
    assert content(tmp_path / "fp32" / last)[1] != digest, "it did compute in another precision"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_holds_in_training_evaluation_and_inference(precision, train, corpus, tmp_path, monkeypatch):
    seen = {"scores": [], "classifier": [], "upstream": []}
    latents, logits = DialectClassifier.latents, DialectClassifier.logits

    def spy_latents(self, features, *rest):
        seen["upstream"].append((self.training, torch.is_autocast_enabled("cpu")))
        return latents(self, features, *rest)

    def spy_logits(self, latents):
        result = logits(self, latents)
        seen["classifier"].append((latents.dtype, result.dtype))
        return result

    monkeypatch.setattr(DialectClassifier, "latents", spy_latents)
    monkeypatch.setattr(DialectClassifier, "logits", spy_logits)
    folder = tmp_path / "run"
    assert train(folder, "xlsr", **{"runner.precision": precision}) == 0
    autocast = precision == "bf16"
    assert set(seen["upstream"]) == {(True, autocast), (False, autocast)}
    assert set(seen["classifier"]) == {(torch.float32, torch.float32)}, "the head and its logits stay float32"
    seen["upstream"].clear()
    assert run("-m", "evaluate", "-t", "dev", "-e", folder, "--device", "cpu") == 0
    audio = next(corpus.glob("**/*.wav"))
    assert run("-m", "inference", "-t", audio, "-e", folder, "--device", "cpu") == 0
    assert set(seen["upstream"]) == {(False, autocast)}
    assert 0 <= json.loads((folder / "dev_metrics.json").read_text())["overall"]["acc"] <= 1


def test_dynamics_of_a_bf16_run_are_float32(train, tmp_path, monkeypatch):
    from lid_mapmix.training.dynamics import DynamicsRecording

    dtypes = set()
    add = DynamicsRecording.add

    def spy(self, epoch, indices, target_classes, logits, *others):
        dtypes.add((logits.dtype, torch.is_autocast_enabled("cpu")))
        # bf16 has 8 bits: rounding to it and back would change nothing if these were such.
        assert not torch.equal(logits.detach().bfloat16().float(), logits.detach())
        return add(self, epoch, indices, target_classes, logits, *others)

    monkeypatch.setattr(DynamicsRecording, "add", spy)
    assert train(tmp_path, "wav2vec2", variant="datamap", **{"runner.precision": "bf16"}) == 0
    assert {dtype for dtype, _ in dtypes} == {torch.float32}


@pytest.mark.parametrize("fp16", [{"runner.precision": "fp16"}, {"runner.fp16": True}])
def test_fp16_on_a_cpu_is_refused_in_one_line(fp16, train, tmp_path, capsys):
    assert train(tmp_path, "xlsr", **fp16) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: runner.precision fp16: expected a GPU, found --device cpu. Use -o config.runner")


@pytest.mark.parametrize("value", ["half", "BF16", 16, True])
def test_another_precision_is_refused(value):
    with pytest.raises(UserError, match=r"runner\.precision is .*; expected fp32, bf16 or fp16\."):
        read_precision({"precision": value})


def test_s3prls_own_fp16_is_a_precision():
    assert read_precision({"fp16": True}) is read_precision({"precision": "fp16"}) is Precision.FP16
    assert read_precision({}) is read_precision({"fp16": False, "precision": None}) is Precision.FP32
    with pytest.raises(UserError, match=r"found runner\.precision bf16 and runner\.fp16 true"):
        read_precision({"precision": "bf16", "fp16": True})


def test_a_gradient_scaler_goes_on_where_it_was():
    # A limit of S3PRL's: a resumed fp16 run began with a fresh scaler. On a CPU a scaler keeps a state as well.
    kept = Casting(Precision.BF16, "cpu")
    runner = {"precision": "bf16"}
    with kept.training(runner):
        scaler = kept.new_scaler()
    scaler.scale(torch.ones(()))
    scaler.update(1024.0)
    states = kept.completed({"Config": {"runner": {**runner, "fp16": True}}, "Step": 1})
    assert states["Config"] == {"runner": runner}, "settings are kept as they were made"
    resumed = Casting(Precision.BF16, "cpu")
    resumed.resume(states)
    assert resumed.new_scaler().state_dict() == scaler.state_dict()
    assert scaler.state_dict()["scale"] == 1024.0
    fresh = Casting(Precision.BF16, "cpu")
    fresh.resume({"Step": 1})
    assert fresh.new_scaler().state_dict()["scale"] != 1024.0


def test_the_loop_knows_fp16_while_it_trains_only():
    casting = Casting(Precision.FP16, "cuda")
    runner = {"precision": "fp16"}
    with casting.training(runner):
        assert runner["fp16"] is True
    assert runner == {"precision": "fp16"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_a_gpu(precision, train, tmp_path):
    assert train(tmp_path, "xlsr", "--device", "cuda", **{"runner.precision": precision}) == 0
