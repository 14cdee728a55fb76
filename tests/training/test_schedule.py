import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lid_mapmix.training.schedule import fill_schedule
from lid_mapmix.utils.errors import UserError


@pytest.mark.parametrize(
    ("runner", "arguments", "expected"),
    [
        ({}, (20, 5), {"total_steps": 100, "eval_step": 20, "save_step": 20, "log_step": 2}),
        ({"total_steps": None}, (7, 3), {"total_steps": 21, "eval_step": 7, "save_step": 7, "log_step": 1}),
        ({"total_steps": 50}, (20, 5), {"total_steps": 50, "eval_step": 20, "save_step": 20, "log_step": 2}),
        ({"log_step": 9}, (20, 5), {"total_steps": 100, "eval_step": 20, "save_step": 20, "log_step": 9}),
        ({"total_steps": 3}, (20, 5), {"total_steps": 3, "eval_step": 3, "save_step": 3, "log_step": 2}),
        ({"eval_step": 500}, (20, 5), {"total_steps": 100, "eval_step": 100, "save_step": 20, "log_step": 2}),
        ({}, (7, 3, 2), {"total_steps": 12, "eval_step": 4, "save_step": 4, "log_step": 1}),
        # Accumulation does not multiply the epochs: 20 batches in steps of 4, and on to the next evaluation.
        ({}, (5, 4, 4), {"total_steps": 6, "eval_step": 2, "save_step": 2, "log_step": 1}),
        ({}, (1, 2, 2), {"total_steps": 1, "eval_step": 1, "save_step": 1, "log_step": 1}),
        ({"total_steps": 1}, (1, 1, 8), {"total_steps": 1, "eval_step": 1, "save_step": 1, "log_step": 1}),
    ],
)  # fmt: skip
def test_epochs_become_steps(runner, arguments, expected):
    kept = {"max_keep": 1, **runner}
    fill_schedule(kept, *arguments)
    assert kept == {"max_keep": 1, **expected}


def test_a_step_longer_than_the_training_is_refused():
    with pytest.raises(
        UserError, match=r"accumulate_steps is 100; expected at most the 8 batches .* \(8 per epoch, 1 epochs\)"
    ):
        fill_schedule({}, 8, 1, 100)


@given(
    batches=st.integers(1, 200),
    epochs=st.integers(1, 20),
    accumulate=st.integers(1, 16),
    runner=st.dictionaries(
        st.sampled_from(["total_steps", "eval_step", "save_step", "log_step"]), st.none() | st.integers(1, 5000)
    ),
)
def test_every_run_ends_with_an_evaluation_and_a_checkpoint_within_it(batches, epochs, accumulate, runner):
    assume(accumulate <= batches * epochs or runner.get("total_steps") is not None)
    filled = dict(runner)
    fill_schedule(filled, batches, epochs, accumulate)
    assert all(isinstance(filled[name], int) and filled[name] >= 1 for name in filled)
    assert filled["eval_step"] <= filled["total_steps"]
    assert filled["save_step"] <= filled["total_steps"]
    for name in ("total_steps", "log_step"):
        assert runner.get(name) in {None, filled[name]}
    if runner.get("total_steps") is None:
        # Every batch of the last epoch, which a data map needs, and less than a step too many an epoch.
        batches_seen = filled["total_steps"] * accumulate
        assert batches * epochs <= batches_seen < (batches + accumulate) * epochs
