"""``-i RUN --new-classes``: a run on other classes that starts from the weights of a trained one."""

import shutil

import pytest
import torch
from helpers.checkpoints import Shape, save_wav2vec2
from helpers.launching import (
    assert_same_files,
    assert_same_weights,
    interrupt_at,
    last_checkpoint,
    listing,
    overrides,
    run,
    train,
    weights,
)
from helpers.synthetic import make_corpus
from lid_mapmix.utils.run_folder import RunFolder

ROWS = ("head.model.classifier.2.weight", "head.model.classifier.2.bias")
# The run knows xaa-one, xaa-two, ybb-one and ybb-two; in sorted order, of two clusters as well.
NEW = ("aaa-new", "xaa-two", "ybb-new", "ybb-two")
KNOWN = {1: 1, 3: 3}  # row of the new run → row of the trained one
# Steps so small that a run ends where it started.
STILL = {"optimizer.lr": 1e-30}


@pytest.fixture(scope="module")
def new_corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("new"), classes=NEW, sizes={"train": 8, "dev": 2, "test": 2})


@pytest.fixture
def fault(capsys):
    """Return a function that returns the one error line."""

    def read():
        (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error: ")]
        return line

    return read


def grow(source, data, expdir, *flags, settings=None):
    where = ["-i", source, "--new-classes", "--data", data, "-p", expdir, "--device", "cpu"]
    return run(*where, "-o", overrides(settings), *flags)


def assert_grown(grown, trained):
    """Compare the weights of a run at its first step with those of the run that it started from."""
    assert grown.keys() == trained.keys()
    assert all(torch.equal(grown[name], trained[name]) for name in grown if name not in ROWS)
    for name in ROWS:
        assert len(grown[name]) == len(NEW)
        assert all(torch.equal(grown[name][row], trained[name][old]) for row, old in KNOWN.items())
        fresh = [row for row in range(len(NEW)) if row not in KNOWN]
        assert not any(torch.equal(grown[name][row], each) for row in fresh for each in trained[name])


def test_both_stages_start_from_the_trained_run(trained, new_corpus, tmp_path):
    before, labels = listing(trained), tmp_path / "data"
    shutil.copytree(new_corpus, labels)
    # Another cluster, another order.
    (labels / "labels.yaml").write_text("all: [aaa-new, xaa-two, ybb-new, ybb-two]\n")
    assert grow(trained, labels, tmp_path / "run", settings=STILL) == 0
    start = weights(trained / "dev-best.ckpt")
    for folder in (tmp_path / "run", tmp_path / "run/datamap"):
        assert_grown(weights(last_checkpoint(folder)), start)
        log = (folder / "log.log").read_text()
        counts = "2 known, 2 new (aaa-new, ybb-new), 2 dropped (xaa-one, ybb-one)"
        assert log.count(f"classes of {trained}/dev-best.ckpt: {counts}\n") == 1
    state = torch.load(last_checkpoint(tmp_path / "run"), weights_only=True)
    assert state["Config"]["downstream_expert"]["labels"] == {"all": list(NEW)}
    old = torch.load(trained / "dev-best.ckpt", weights_only=True)["Downstream"]["_extra_state"]["class_prior"]
    assert state["Downstream"]["_extra_state"]["class_prior"] != old
    assert "aaa-new" in (tmp_path / "run/calibration.json").read_text()
    assert state["Step"] == 6, "from the start, with an optimizer of its own"
    assert listing(trained) == before


def test_the_fresh_rows_depend_on_the_seed_only(trained, new_corpus, tmp_path):
    settings = STILL | {"downstream_expert.epochs": 1, "runner.eval_dataloaders": []}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        flags = ("-v", "baseline", "--seed", seed)
        assert grow(trained / "dev-best.ckpt", new_corpus, tmp_path / name, *flags, settings=settings) == 0
    assert_same_weights(tmp_path / "one", tmp_path / "again")
    one, other = (weights(last_checkpoint(tmp_path / name)) for name in ("one", "other"))
    assert not torch.equal(one[ROWS[0]][0], other[ROWS[0]][0])


def test_an_interrupted_run_resumes_from_its_own_checkpoints(own_run, new_corpus, tmp_path, monkeypatch):
    # Four batches an epoch; in the data map first, then in Map-Mix.
    settings = {"downstream_expert.data.batch_size": 8, "runner.save_step": 1}
    assert grow(own_run, new_corpus, tmp_path / "whole", settings=settings) == 0
    for step in (3, 10):
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            assert grow(own_run, new_corpus, tmp_path / "run", "-a", settings=settings) == 130
    assert list((tmp_path / "run").glob("states-*.ckpt")), "the second stage was interrupted"
    own_run.rename(tmp_path / "gone")
    assert grow(own_run, new_corpus, tmp_path / "run", "-a", settings=settings) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    assert_same_weights(tmp_path / "run/datamap", tmp_path / "whole/datamap")
    assert_same_files(tmp_path / "run", tmp_path / "whole", "test_scores.csv", "datamap/datamap.csv")


def test_a_data_map_from_other_weights_is_refused(trained, own_run, new_corpus, tmp_path, fault):
    assert grow(trained, new_corpus, tmp_path / "run", settings=STILL) == 0
    RunFolder(tmp_path / "run").clear()
    states = torch.load(own_run / "dev-best.ckpt", weights_only=True)
    states["Downstream"]["model.pooling.score.weight"] += 1
    torch.save(states, own_run / "dev-best.ckpt")
    assert grow(own_run, new_corpus, tmp_path / "run", "-a", settings=STILL) == 1
    assert "expected a data map with the same weights of -i, found another" in fault()
    assert train(new_corpus, tmp_path / "run", "-a", settings=STILL) == 1
    assert "expected a data map with the same weights of -i, found another" in fault()


# The upstream --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(corpus, tmp_path_factory):
    """Return the folder of a run that fine-tuned a small wav2vec 2.0."""
    folder = tmp_path_factory.mktemp("tuned")
    flags = ["-v", "baseline", "-u", "wav2vec2_local", "-k", save_wav2vec2(folder / "small.pt", Shape(layers=1))]
    assert train(corpus, folder / "run", *flags, settings={"optimizer.lr": 1e-3, "downstream_expert.epochs": 1}) == 0
    return folder / "run"


def test_a_fine_tuned_upstream_is_that_of_the_trained_run(tuned, new_corpus, tmp_path):
    settings = STILL | {"downstream_expert.epochs": 1}
    assert grow(tuned, new_corpus, tmp_path / "run", "-v", "baseline", settings=settings) == 0
    found, start = (torch.load(last_checkpoint(folder), weights_only=True) for folder in (tmp_path / "run", tuned))
    assert start["Upstream"]
    assert all(torch.equal(found["Upstream"][name], value) for name, value in start["Upstream"].items())
    assert_grown(weights(last_checkpoint(tmp_path / "run")), weights(tuned / "dev-best.ckpt"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["-u", "fbank"], "expected upstream wav2vec2_local, found fbank"),
        (["-s", "hidden_states"], "expected upstream_feature_selection last_hidden_state, found hidden_states"),
        (["-l", "0"], "expected upstream_layer_selection None, found 0"),
        (["--frozen"], "expected upstream_trainable True, found False"),
    ],
)
def test_flags_that_do_not_fit_the_weights_are_refused(flags, says, tuned, new_corpus, tmp_path, fault):
    assert grow(tuned, new_corpus, tmp_path / "run", *flags) == 1
    assert f"{tuned}/dev-best.ckpt: {says}. Omit" in fault()
    assert not (tmp_path / "run").exists()


def test_the_frozen_upstream_keeps_its_weights(corpus, new_corpus, tmp_path, fault):
    one, other = (save_wav2vec2(tmp_path / f"{seed}.pt", Shape(layers=1), seed) for seed in (0, 1))
    settings = STILL | {"downstream_expert.epochs": 1, "runner.eval_dataloaders": []}
    flags = ["-v", "baseline", "-u", "wav2vec2_local", "--frozen"]
    assert train(corpus, tmp_path / "frozen", *flags, "-k", one, settings=settings) == 0
    for more in ([], ["-f"]):
        assert grow(tmp_path / "frozen", new_corpus, tmp_path / "run", "-v", "baseline", "-k", other, *more) == 1
        assert f"expected the weights of its frozen upstream, found others in {other}. Omit -k" in fault()
    assert not (tmp_path / "run").exists()
    moved = one.rename(tmp_path / "moved.pt")
    flags = ["-v", "baseline", "-k", moved, "-f"]
    assert grow(tmp_path / "frozen", new_corpus, tmp_path / "run", *flags, settings=settings) == 0


# Refusals ------------------------------------------------------------------------------------------------------------


def test_without_the_flag_other_classes_are_refused_and_the_flag_is_named(trained, new_corpus, tmp_path, fault):
    checkpoint = ("-v", "baseline", "-i", trained / "dev-best.ckpt")
    assert train(new_corpus, tmp_path / "run", *checkpoint) == 1
    assert "-i RUN --new-classes" in fault()
    assert run("-e", trained, "-p", tmp_path / "run", "--data", new_corpus, "--device", "cpu") == 1
    assert "-i RUN --new-classes" in fault()


def test_a_corpus_of_other_classes_only_is_refused(trained, tmp_path, fault):
    data = make_corpus(tmp_path / "data", classes=("zcc-one", "zcc-two"), sizes={"train": 1, "dev": 1})
    assert grow(trained, data, tmp_path / "run", "-v", "baseline") == 1
    assert f"{trained}/dev-best.ckpt: expected one of the classes zcc-one, zcc-two, found xaa-one, xaa-two" in fault()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [[], ["-a"], ["--overwrite"]])
def test_the_folder_of_the_trained_run_is_not_taken(more, own_run, new_corpus, fault):
    before = listing(own_run)
    for source in (own_run, own_run / "dev-best.ckpt", own_run / "datamap"):
        assert grow(source, new_corpus, own_run, *more) == 1
        assert f"{own_run}: holds the trained run of -i" in fault()
    assert listing(own_run) == before


def no_state(states):
    del states["Downstream"]["_extra_state"]


def one_row_fewer(states):
    for name in ("model.classifier.2.weight", "model.classifier.2.bias"):
        states["Downstream"][name] = states["Downstream"][name][1:]


def no_head(states):
    states["Downstream"] = [1]


def no_featurizer(states):
    del states["Featurizer"]


def another_task(states):
    states["Args"].downstream = "asr"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_state, "the checkpoint is damaged or of another program: expected its state to be a mapping, found None"),
        (no_head, "the checkpoint is damaged or of another program: expected its state to be a mapping, found None"),
        (one_row_fewer, "dev-best.ckpt: its Downstream does not match this run, or is damaged ("),
        (no_featurizer, "dev-best.ckpt: expected Featurizer in the checkpoint, found none"),
        (another_task, "dev-best.ckpt: expected the task lid_mapmix, found asr"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused(damage, says, own_run, new_corpus, tmp_path, fault):
    states = torch.load(own_run / "dev-best.ckpt", weights_only=True)
    damage(states)
    torch.save(states, own_run / "dev-best.ckpt")
    assert grow(own_run, new_corpus, tmp_path / "run", "-v", "baseline") == 1
    assert says in fault()
    assert not (tmp_path / "run").exists()


def test_a_network_of_another_size_is_refused(trained, new_corpus, tmp_path, fault):
    wider = {"downstream_expert.model.hidden_dim": 8}
    assert grow(trained, new_corpus, tmp_path / "run", "-v", "baseline", settings=wider) == 1
    assert "dev-best.ckpt: its Downstream does not match this run" in fault()
