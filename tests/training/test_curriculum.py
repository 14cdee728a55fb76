"""What each epoch of a run trains on, without a run."""

import io

import numpy as np
import pytest
import torch
from helpers.synthetic import make_corpus, open_split
from lid_mapmix.config.checks import task_config
from lid_mapmix.training.curriculum import Curriculum
from lid_mapmix.training.plan import plan_training
from lid_mapmix.utils.errors import UserError
from reference.confidence import confidence_rows

COUNT = 24
ONLINE = {"mix": "latent", "anchors": "ambiguous", "partners": "easy", "targets": "confidence", "online": True}
SHARES = {"regions": "quantile", "easy_fraction": 0.25, "hard_fraction": 0.25}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_split(make_corpus(tmp_path_factory.mktemp("curriculum"), sizes={"train": 6}, seconds=0.1))


def curriculum(data, total_batches=1000, datamap=None, **mapmix):
    config = task_config({"mapmix": mapmix, "data": {"batch_size": 4}, "datamap": datamap or SHARES})
    return Curriculum(plan_training(config, *data, seed=3), total_batches)


def answers(target_classes, seed=0):
    """Return softmax rows in which a utterance's probability of its class grows with its number."""
    generator = np.random.default_rng(seed)
    rows = generator.random((COUNT, 4)) + 0.1
    own = np.linspace(0.1, 0.9, COUNT)
    rows[np.arange(COUNT), target_classes] = 0
    rows *= ((1 - own) / rows.sum(axis=1))[:, None]
    rows[np.arange(COUNT), target_classes] = own
    return rows.astype(np.float32)


def test_an_online_run_warms_up_on_everyone_and_then_goes_by_what_it_has_seen(data):
    split, labels = data
    made = curriculum(data, **ONLINE, warmup_epochs=2)
    rows = answers(split.target_classes)
    for epoch in range(2):
        assert made.start_epoch(epoch) is None
        assert len(made.sampler.anchors) == len(made.sampler.partners) == COUNT
        assert made.plan.targets.tolist() == np.eye(4).tolist()
        made.dynamics.add(np.arange(COUNT), split.target_classes, rows)
    assert made.start_epoch(2) == "epoch 2: 6 easy, 12 ambiguous, 6 hard"
    assert made.sampler.anchors.tolist() == list(range(6, 18))
    assert made.sampler.partners.tolist() == list(range(18, 24))
    class_similarity = np.stack([rows[split.target_classes == c].sum(axis=0) for c in range(4)])
    clusters = labels.cluster_indices.tolist()
    np.testing.assert_allclose(made.plan.targets, confidence_rows(class_similarity, clusters, 0.75), atol=1e-6)
    # Opinions change: now the first are sure and the last are not.
    for _ in range(30):
        made.dynamics.add(np.arange(COUNT), split.target_classes, answers(split.target_classes)[::-1].copy())
    before = made.sampler.anchors
    made.start_epoch(3)
    assert made.sampler.anchors.tolist() != before.tolist()


def test_who_was_never_heard_is_neither_anchor_nor_partner_of_an_online_run(data):
    """Bad audio that is skipped counted as hard: as a hard anchor, and as one of the others that take part."""
    outside = {"anchors_outside_fraction": 1.0, "partners_outside_fraction": 1.0, "warmup_epochs": 1}
    made = curriculum(data, **ONLINE, **outside)
    made.start_epoch(0)
    heard, target_classes = np.delete(np.arange(COUNT), [3, 20]), data[0].target_classes
    made.dynamics.add(heard, target_classes[heard], answers(target_classes)[heard])
    # A quarter of 22, rounded.
    assert made.start_epoch(1) == "epoch 1: 6 easy, 10 ambiguous, 6 hard, 2 unread"
    assert made.sampler.anchors.tolist() == made.sampler.partners.tolist() == heard.tolist()
    resumed = curriculum(data, **ONLINE, **outside)
    resumed.restore(made.state(), 1)
    assert resumed.plan.regions.tolist() == made.plan.regions.tolist()
    assert resumed.sampler.anchors.tolist() == heard.tolist()


def test_an_online_run_takes_everyone_while_a_region_is_empty(data):
    made = curriculum(data, **ONLINE, warmup_epochs=1, datamap={"regions": "fixed"})
    made.start_epoch(0)
    made.dynamics.add(np.arange(COUNT), data[0].target_classes, np.full((COUNT, 4), 0.25, dtype=np.float32))
    assert "all utterances, because a region has fewer than one batch" in made.start_epoch(1)
    assert len(made.sampler.anchors) == len(made.sampler.partners) == COUNT


def test_an_online_run_takes_everyone_while_a_region_has_less_than_a_batch(data):
    made = curriculum(data, **ONLINE, warmup_epochs=1, datamap={**SHARES, "easy_fraction": 3 / COUNT})
    made.start_epoch(0)
    made.dynamics.add(np.arange(COUNT), data[0].target_classes, answers(data[0].target_classes))
    assert "fewer than one batch" in made.start_epoch(1)
    assert len(made.sampler.anchors) == len(made.sampler.partners) == COUNT


def test_an_online_run_that_pairs_across_waits_for_partners_of_two_classes(data):
    target_classes = data[0].target_classes
    made = curriculum(data, **ONLINE, warmup_epochs=1, pairing="across")
    made.start_epoch(0)

    def observe(own):
        rows = np.repeat(((1 - own) / 3)[:, None], 4, axis=1).astype(np.float32)
        rows[np.arange(COUNT), target_classes] = own
        made.dynamics.add(np.arange(COUNT), target_classes, rows)

    observe(np.where(target_classes == 0, 0.6, 0.3))  # all of one class are the surest
    assert "partners of only one class" in made.start_epoch(1)
    assert len(made.sampler.partners) == COUNT
    observe(np.where(np.arange(COUNT) % 4 == 0, 0.9, 0.1))
    made.start_epoch(2)
    assert len(made.sampler.partners) == COUNT / 4


@pytest.mark.parametrize("interrupted", [0, 1, 3])
def test_a_resumed_online_run_has_the_same_pools_and_targets(data, interrupted):
    split, _ = data

    def step(made, epoch, part):
        indices = np.arange(COUNT)[part::2]
        made.dynamics.add(indices, split.target_classes[indices], answers(split.target_classes, seed=epoch)[indices])

    made = curriculum(data, **ONLINE, warmup_epochs=1)
    for epoch in range(interrupted + 1):
        made.start_epoch(epoch)
        step(made, epoch, 0)
        if epoch == interrupted:
            file = io.BytesIO()
            torch.save(made.state(), file)
        step(made, epoch, 1)
    file.seek(0)
    resumed = curriculum(data, **ONLINE, warmup_epochs=1)
    resumed.restore(torch.load(file, weights_only=True), interrupted)
    for _ in range(2):
        assert resumed.sampler.anchors.tolist() == made.sampler.anchors.tolist()
        assert resumed.sampler.partners.tolist() == made.sampler.partners.tolist()
        assert (resumed.plan.targets == made.plan.targets).all()
        if resumed.dynamics.state()["counts"].sum() < made.dynamics.state()["counts"].sum():
            step(resumed, interrupted, 1)
        interrupted += 1
        for each in (resumed, made):
            each.start_epoch(interrupted)


def test_a_plain_end_mixes_nothing(data):
    # 6 batches an epoch: the last quarter of 24 is the fourth epoch.
    made = curriculum(
        data, total_batches=24, mix="latent", unmixed_tail=0.25, targets="confidence", class_similarity="uniform"
    )
    for epoch in range(3):
        assert made.start_epoch(epoch) is None
        assert made.sampler.partners is not None
        assert made.plan.targets[0, 0] == 0.75
    assert "unmixed from here on" in made.start_epoch(3)
    assert made.sampler.partners is None
    assert made.plan.targets.tolist() == np.eye(4).tolist()
    resumed = curriculum(
        data, total_batches=24, mix="latent", unmixed_tail=0.25, targets="confidence", class_similarity="uniform"
    )
    resumed.restore(made.state(), 3)
    assert resumed.sampler.partners is None
    assert resumed.start_epoch(4) is None


def test_without_either_every_epoch_is_alike(data):
    made = curriculum(data, mix="latent")
    for epoch in range(3):
        assert made.start_epoch(epoch) is None
        assert len(made.sampler.anchors) == COUNT
    assert made.state()["dynamics"] is None


@pytest.mark.parametrize(("share", "plain_epochs"), [(0.0, 0), (0.3, 1), (0.5, 2), (0.6, 2), (0.9, 3)])
def test_a_plain_end_is_rounded_to_epochs(data, share, plain_epochs):
    # Three epochs of 6 batches; half a share rounds towards the plain end.
    made = curriculum(data, total_batches=18, mix="latent", unmixed_tail=share)
    mixed = []
    for epoch in range(3):
        made.start_epoch(epoch)
        mixed.append(made.sampler.partners is not None)
    assert mixed == [True] * (3 - plain_epochs) + [False] * plain_epochs


def test_the_checkpoint_of_another_run_is_refused(data, tmp_path_factory):
    online = curriculum(data, **ONLINE)
    with pytest.raises(UserError, match=r"expected the checkpoint of a run with mapmix\.online, found one without"):
        online.restore(curriculum(data, mix="latent").state(), 0)
    more = open_split(make_corpus(tmp_path_factory.mktemp("more"), sizes={"train": 7}, seconds=0.1))
    with pytest.raises(UserError, match="Resume with the manifest"):
        online.restore(curriculum(more, **ONLINE).state(), 0)
