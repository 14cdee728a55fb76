"""The form of what the task keeps in a checkpoint besides weights."""

import pytest
from lid_mapmix.training.checkpoints import STATE_VERSION, check_state
from lid_mapmix.utils.errors import UserError


def state(**changes):
    run = {"position": [1, 3], "curriculum": {}, "recording": None}
    return {"version": STATE_VERSION, "classes": ["a-a"], "best_accuracy": 0.5, "run": run} | changes


def of_run(**changes):
    return state(run=state()["run"] | changes)


def without(name):
    return {key: value for key, value in state().items() if key != name}


@pytest.mark.parametrize(
    "sound", [state(), state(run=None), of_run(position=None), of_run(recording={}), without("run") | {"version": 1}]
)
def test_sound_states_pass(sound):
    check_state(sound)


@pytest.mark.parametrize(
    ("damaged", "place"),
    [
        (None, "its state"),
        ([1], "its state"),
        *((without(name), name) for name in ("version", "classes", "best_accuracy", "run")),
        (state(classes="a-a"), "classes"),
        (state(best_accuracy="good"), "best_accuracy"),
        (state(run=[1]), "run"),
        *(
            (of_run(position=each), r"run\.position")
            for each in ([-1, 0], [0, -1], [0, "x"], [-1, "x"], [1], 3, [0, True])
        ),
        (of_run(curriculum=None), r"run\.curriculum"),
        (of_run(recording=3), r"run\.recording"),
    ],
)
def test_damaged_and_foreign_states_are_one_line(damaged, place):
    with pytest.raises(UserError, match=f"damaged or of another program: expected {place} to be") as caught:
        check_state(damaged)
    assert "\n" not in str(caught.value)
