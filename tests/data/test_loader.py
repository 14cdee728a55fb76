import numpy as np
import pytest
import torch
from helpers.synthetic import make_corpus, open_split
from lid_mapmix.data.crops import Crops
from lid_mapmix.data.dataset import EvaluationDataset
from lid_mapmix.data.loader import TaskLoader
from lid_mapmix.training.sampler import TrainSampler
from lid_mapmix.training.train_dataset import TrainDataset
from lid_mapmix.utils.errors import BadAudioError, UserError

SEED = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("loader"), sizes={"train": 3}, seconds=0.2)


def training(split, *, workers=0, epoch=1, first_batch=0, batch_size=3, process=0):
    everyone = np.arange(len(split.manifest))
    sampler = TrainSampler(
        everyone, everyone, np.zeros_like(everyone), batch_size=batch_size, alpha=0.5, probability=1.0, seed=SEED
    )
    batches = list(sampler.batches(epoch, first_batch))
    dataset = TrainDataset(split, Crops(split.counts, 0.1), SEED)
    return TaskLoader(
        dataset, batches, workers=workers, seed=SEED, epoch=epoch, first_batch=first_batch, process=process
    )


def contents(loader):
    return [
        (waveforms, batch.anchor, batch.partner_classes, batch.weight, batch.waveforms.first, torch.rand(3))
        for waveforms, batch in loader
    ]


def assert_same(one, other):
    assert len(one) == len(other)
    for values, others in zip(one, other, strict=True):
        assert all(map(torch.equal, values, others))


def test_workers_change_nothing(corpus):
    split, _ = open_split(corpus)
    alone = contents(training(split))
    assert len(alone) == 4
    assert_same(alone, contents(training(split, workers=2)))


def test_each_process_has_a_random_state_of_its_own(corpus):
    split, _ = open_split(corpus)
    drawn = [[row[-1] for row in contents(training(split, process=process))] for process in (0, 1, 2, 1)]
    assert all(map(torch.equal, drawn[1], drawn[3]))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not any(map(torch.equal, drawn[one], drawn[other]))


@pytest.mark.parametrize("first_batch", [0, 1, 3, 4])
def test_a_resumed_epoch_goes_on_as_if_never_stopped(corpus, first_batch):
    split, _ = open_split(corpus)
    expected = contents(training(split))[first_batch:]
    torch.manual_seed(99)
    loader = training(split, first_batch=first_batch)
    assert len(loader) == len(expected)
    assert_same(expected, contents(loader))


def test_what_an_evaluation_draws_between_two_steps_changes_nothing(corpus):
    split, _ = open_split(corpus)
    expected = contents(training(split))
    found = []
    for waveforms, batch in training(split):
        found.append(
            (waveforms, batch.anchor, batch.partner_classes, batch.weight, batch.waveforms.first, torch.rand(3))
        )
        torch.manual_seed(1337)
        torch.rand(100)
    assert_same(expected, found)


def test_steps_and_epochs_draw_other_numbers(corpus):
    split, _ = open_split(corpus)
    draws = [tuple(row[-1].tolist()) for epoch in (0, 1) for row in contents(training(split, epoch=epoch))]
    assert len(set(draws)) == len(draws) == 8


@pytest.mark.parametrize("workers", [0, 2])
def test_the_position_says_how_many_batches_were_given(corpus, workers):
    split, _ = open_split(corpus)
    loader = training(split, first_batch=1, workers=workers)
    assert loader.position == 1
    assert [loader.position for _ in loader] == [2, 3, 4]


def test_evaluation_leaves_the_random_state_alone(corpus):
    split, _ = open_split(corpus)
    windows = np.array([[number, 0, 1000] for number in range(4)])
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    loader = TaskLoader(EvaluationDataset(split, windows), [[1, 0], [3], [2]], workers=2)
    assert [batch.utterance.tolist() for _, batch in loader] == [[1, 0], [3], [2]]
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_the_same_one_line(tmp_path, workers):
    folder = make_corpus(tmp_path, sizes={"train": 2}, seconds=0.2)
    split, _ = open_split(folder)
    broken = folder / "audio/train/ybb-one-1.wav"
    broken.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        list(training(split, workers=workers))
    assert type(caught.value) is BadAudioError
    assert str(caught.value) == f"{broken}: is empty (0 bytes). Restore the file or remove it."


def test_a_defect_of_a_worker_keeps_its_traceback(corpus):
    split, _ = open_split(corpus)
    with pytest.raises(IndexError):
        list(TaskLoader(EvaluationDataset(split, np.array([[99, 0, 10]])), [[0]], workers=1))
