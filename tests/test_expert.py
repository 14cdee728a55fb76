"""The expert as S3PRL's runner uses it, without the runner."""

import io
from argparse import Namespace
from collections import defaultdict

import numpy as np
import pytest
import soundfile
import torch
from helpers.synthetic import CLASSES, make_corpus
from lid_mapmix.data.crops import KeptFeatures
from lid_mapmix.expert import DownstreamExpert
from lid_mapmix.utils.errors import UserError

RATE = 160
DIM = 6


class Logger:
    """Keeps what would go to TensorBoard."""

    def __init__(self):
        self.values = {}

    def add_scalar(self, name, value, global_step):
        self.values[name, global_step] = value


def make(corpus, expdir, *, mode="train", flag="baseline", runner=None, **sections):
    """Return an expert made as the runner makes it, and the configuration it completes."""
    config = {
        "runner": {"eval_dataloaders": ["dev"], **(runner or {})},
        "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-3},
        "downstream_expert": {
            "epochs": 2,
            "data": {"directory": str(corpus), "batch_size": 8, "crop_seconds": 0.5, "workers": 0},
            **sections,
        },
    }
    arguments = Namespace(mode=mode, downstream_variant=flag, seed=3, expdir=str(expdir), upstream="fbank")
    expert = DownstreamExpert(upstream_dim=DIM, upstream_rate=RATE, **config, **vars(arguments))
    return expert, config


def features_of(waveforms):
    """Stand in for an upstream: powers of the mean amplitude of each frame."""
    frames = [torch.as_tensor(waveform).unfold(0, 400, RATE).abs().mean(dim=1) for waveform in waveforms]
    return [torch.stack([each * power for power in range(1, DIM + 1)], dim=1) for each in frames]


def evaluate(expert, step, logger=None):
    """Evaluate dev as the runner does, and return the checkpoints that it is to write."""
    records = defaultdict(list)
    with torch.no_grad():
        for waveforms, batch in expert.get_dataloader("dev"):
            expert("dev", features_of(waveforms), batch, records=records, batch_id=0)
    return expert.log_records("dev", records=records, logger=logger or Logger(), global_step=step, batch_ids=[])


def test_a_training_step_and_its_log(corpus, tmp_path):
    expert, config = make(corpus, tmp_path)
    assert config["runner"]["total_steps"] == 4, "16 anchors a batch, as the variant says"
    waveforms, batch = next(iter(expert.get_dataloader("train", epoch=0)))
    records = defaultdict(list)
    loss = expert("train", features_of(waveforms), batch, records=records)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(4), abs=0.2)
    assert all(parameter.grad is not None for parameter in expert.parameters())
    logger = Logger()
    assert expert.log_records("train", records=records, logger=logger, global_step=1, batch_ids=[0]) == []
    assert set(logger.values) == {("lid_mapmix/train-loss", 1), ("lid_mapmix/train-acc", 1)}


def test_an_evaluation_names_the_best_checkpoint_and_only_that(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path)

    logger = Logger()
    assert evaluate(expert, 2, logger) == ["dev-best.ckpt"]
    assert ("lid_mapmix/dev-acc", 2) in logger.values
    assert "dev at step 2" in (tmp_path / "log.log").read_text()
    assert evaluate(expert, 4, logger) == [], "no better than before"
    (tmp_path / "dev_scores.csv").unlink()
    assert evaluate(expert, 0, logger) == [], "an evaluation by itself chooses nothing"
    assert (tmp_path / "dev_scores.csv").is_file()


def test_a_new_best_ends_the_calibration_of_the_one_before(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path)
    stale = tmp_path / "calibration.json"
    for step, best, remains in ((2, 0.0, False), (4, 1.1, True)):
        stale.write_text("{}")
        expert.evaluation.best_accuracy = best
        evaluate(expert, step)
        assert stale.exists() == remains


@pytest.mark.parametrize("has_best", [True, False])
def test_the_best_so_far_counts_only_where_its_checkpoint_is(has_best, corpus, tmp_path):
    expert, _ = make(corpus, tmp_path)
    expert.set_extra_state(expert.get_extra_state() | {"best_accuracy": 1.1})
    if has_best:
        (tmp_path / "dev-best.ckpt").touch()
    assert evaluate(expert, 2) == ([] if has_best else ["dev-best.ckpt"])
    assert evaluate(expert, 4) == []


def test_an_evaluation_without_numbers_is_a_diverged_training(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path)
    records = {"windows": [torch.arange(8)], "probabilities": [torch.full((8, 4), torch.nan, dtype=torch.float64)]}
    with pytest.raises(UserError, match=r"dev at step 8: .* diverged"):
        expert.log_records("dev", records=records, logger=Logger(), global_step=8)
    assert not (tmp_path / "dev_scores.csv").exists()


def test_inference_needs_no_data(corpus, tmp_path, capsys):
    labels = {"xaa": list(CLASSES[:2]), "ybb": list(CLASSES[2:])}
    expert, _ = make(corpus, tmp_path, mode="inference", labels=labels, data={"workers": 0})
    audio = expert.load_audio(corpus / "audio/test/xaa-one-0.wav")
    assert audio.dtype == torch.float32
    assert audio.shape == (16_000,)
    with torch.no_grad():
        (ranking,) = expert.inference(features_of([audio]), ["xaa-one-0"])
    assert [probability for _, probability in ranking] == sorted((each for _, each in ranking), reverse=True)
    assert {name for name, _ in ranking} == set(CLASSES)
    assert sum(probability for _, probability in ranking) == pytest.approx(1, abs=1e-5)
    assert "xaa-one-0" in capsys.readouterr().out


def test_short_audio_is_refused_before_the_upstream_sees_it(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(399, dtype=np.float32), 16_000)
    with pytest.raises(UserError, match=r"at least 400 samples at 16 kHz \(25 ms\), found 399"):
        expert.load_audio(tmp_path / "a.wav")


def test_what_a_checkpoint_carries_loads_without_running_code(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path, flag="datamap")
    loader = iter(expert.get_dataloader("train", epoch=0))
    for _ in range(2):
        waveforms, batch = next(loader)
        expert("train", features_of(waveforms), batch, records=defaultdict(list))
    file = io.BytesIO()
    torch.save(expert.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed, _ = make(corpus, tmp_path, flag="datamap")
    resumed.load_state_dict(state)
    rest = list(resumed.get_dataloader("train", epoch=0))
    assert len(rest) == 2
    assert [batch.anchor.tolist() for _, batch in rest] == [batch.anchor.tolist() for _, batch in loader]
    assert torch.equal(
        resumed.get_extra_state()["run"]["recording"]["indices"],
        expert.get_extra_state()["run"]["recording"]["indices"],
    )
    assert len(list(resumed.get_dataloader("train", epoch=1))) == 4, "only the epoch that was begun is cut short"


def test_a_checkpoint_of_another_version_can_be_used_but_not_trained_on(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path)
    old = expert.get_extra_state() | {"version": 1}
    make(corpus, tmp_path, mode="evaluate")[0].set_extra_state(old)
    with pytest.raises(UserError, match="expected a checkpoint of this version"):
        expert.set_extra_state(old)


def test_a_checkpoint_of_other_classes_is_refused(corpus, tmp_path):
    other, _ = make(make_corpus(tmp_path / "other", classes=("zcc-one", "zcc-two")), tmp_path / "run")
    expert, _ = make(corpus, tmp_path)
    with pytest.raises(
        UserError, match=r"expected a checkpoint of the classes xaa-one.*, found one of zcc-one, zcc-two"
    ):
        expert.set_extra_state(other.get_extra_state())


def test_map_mix_without_a_map_says_which_command_comes_first(corpus, tmp_path):
    with pytest.raises(UserError, match=r"variant mapmix needs a data map, .* Train '-v datamap' first"):
        make(corpus, tmp_path, flag="mapmix")


def test_the_variant_is_applied_once(corpus, tmp_path):
    _, config = make(corpus, tmp_path, flag="baseline", data={"directory": str(corpus), "batch_size": 8})
    assert config["downstream_expert"]["data"]["batch_size"] == 16
    assert config["downstream_expert"]["variant"] == "baseline"
    config["downstream_expert"]["data"]["batch_size"] = 5  # as -o would on resuming
    expert, config = make(corpus, tmp_path, flag="baseline", **config["downstream_expert"])
    assert config["downstream_expert"]["data"]["batch_size"] == 5
    assert expert.config.data.batch_size == 5


def test_no_data_named(tmp_path):
    with pytest.raises(UserError, match="--data DIR"):
        make(None, tmp_path, data={"workers": 0})


def test_the_labels_are_kept_in_the_configuration(corpus, tmp_path):
    _, config = make(corpus, tmp_path)
    assert config["downstream_expert"]["labels"] == {"xaa": list(CLASSES[:2]), "ybb": list(CLASSES[2:])}


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 4), (2, 2), (3, 2)])
def test_steps_are_worked_out_from_epochs(accumulate, steps, corpus, tmp_path):
    # Two batches an epoch; with three batches a step, rounded up to a step an epoch.
    _, config = make(corpus, tmp_path, runner={"gradient_accumulate_steps": accumulate, "total_steps": None})
    runner = config["runner"]
    assert runner["total_steps"] == steps
    assert runner["total_steps"] % runner["save_step"] == runner["total_steps"] % runner["eval_step"] == 0


def test_steps_that_are_given_stay(corpus, tmp_path):
    _, config = make(corpus, tmp_path, runner={"total_steps": 3, "eval_step": 9, "save_step": 2, "log_step": 7})
    assert [config["runner"][name] for name in ("total_steps", "eval_step", "save_step", "log_step")] == [3, 3, 2, 7]


def test_a_cache_that_nobody_has_attached_is_no_silent_loss(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path, cache={"directory": "cache"})
    with pytest.raises(
        UserError,
        match=r"only run_downstream\.py of lid_mapmix caches features, found another command\. Set it to null",
    ):
        expert.get_dataloader("train", epoch=0)


def test_a_batch_is_announced_just_before_it_is_given(corpus, tmp_path):
    expert, _ = make(corpus, tmp_path, flag="latent_random")
    told = []
    for split in ("train", "dev"):
        expert.keep_features(split, KeptFeatures(lambda slot: False, told.append))
        loader = expert.get_dataloader(split, **({"epoch": 0} if split == "train" else {}))
        for number, (_, batch) in enumerate(loader, start=1):
            assert len(told) == number
            assert told[-1] == batch.waveforms.slot.tolist()
        told.clear()
