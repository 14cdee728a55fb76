import pytest
from lid_mapmix.config import renamed
from lid_mapmix.config.checks import task_config
from lid_mapmix.config.renamed import (
    REMOVED,
    RENAMED,
    original_names,
    rename_path,
    rename_settings,
    rename_task_settings,
)
from lid_mapmix.config.schema import TaskConfig
from lid_mapmix.config.sources import TASK_KEY
from lid_mapmix.utils.errors import UserError

OLD = {
    "data": {"most_bad_share": 0.2},
    "mapmix": {
        **{"weight_per": "utterance", "target_share": 0.9},
        **{"likeness": "given", "likeness_file": "a.csv", "alpha": 0.7},
    },
    "datamap": {"easy_share": 0.5, "hard_share": 0.25},
}
NEW = {
    "data": {"max_bad_fraction": 0.2},
    "mapmix": {
        "lambda_per": "utterance",
        **{"own_class_weight": 0.9, "class_similarity": "given", "class_similarity_file": "a.csv"},
        "alpha": 0.7,
    },
    "datamap": {"easy_fraction": 0.5, "hard_fraction": 0.25},
}


@pytest.fixture(autouse=True)
def nothing_printed_yet():
    """Lines are printed once per process."""
    renamed._new_name.cache_clear()


def test_every_new_name_is_a_setting_and_no_old_one_is():
    settings = TaskConfig().as_mapping()
    for section, names in RENAMED.items():
        assert set(names.values()) <= settings[section].keys()
        assert not names.keys() & settings[section].keys()
        assert not REMOVED.get(section, {}).keys() & settings[section].keys()


def test_old_names_are_the_same_settings(capsys):
    assert rename_task_settings(OLD) == NEW
    assert task_config(OLD) == task_config(NEW)
    assert rename_settings({"runner": {}, TASK_KEY: OLD}) == {"runner": {}, TASK_KEY: NEW}
    assert rename_settings({"runner": {}}) == {"runner": {}}
    assert capsys.readouterr() == ("", "")


def test_a_line_names_the_new_name_once(capsys):
    for _ in range(2):
        rename_task_settings(OLD, warn=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == sum(map(len, RENAMED.values()))
    assert "[lid_mapmix] downstream_expert.mapmix.likeness is deprecated; use class_similarity" in lines


def test_the_path_of_an_override_gets_the_new_name(capsys):
    assert rename_path([TASK_KEY, "mapmix", "target_share"]) == [TASK_KEY, "mapmix", "own_class_weight"]
    assert "target_share is deprecated; use own_class_weight" in capsys.readouterr().err
    for path in ([TASK_KEY, "mapmix", "alpha"], ["optimizer", "lr"], [TASK_KEY, "epochs"]):
        assert rename_path(path) == path
    assert capsys.readouterr().err == ""


def test_both_names_of_a_setting_are_refused():
    with pytest.raises(UserError, match=r"both class_similarity and likeness, its old name\. Delete likeness"):
        task_config({"mapmix": {"likeness": "uniform", "class_similarity": "uniform"}})


def test_wrong_types_are_left_to_the_schema():
    assert rename_task_settings({"mapmix": None, "data": [1]}) == {"mapmix": None, "data": [1]}


def test_requests_of_data_maps_have_the_original_names():
    assert original_names("datamap", NEW["datamap"]) == OLD["datamap"]


@pytest.mark.parametrize(
    "off",
    [
        {"online": False, "warmup_epochs": 5, "plain_finish": 0.0},
        {"unmixed_tail": 0, "anchors_outside": 0.0, "partners_outside_fraction": 0.0},
    ],
)
def test_a_removed_setting_that_changes_nothing_is_dropped(off, capsys):
    assert rename_task_settings({"mapmix": {"alpha": 0.7, **off}}, warn=True) == {"mapmix": {"alpha": 0.7}}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "on", [{"online": True}, {"unmixed_tail": 0.3}, {"plain_finish": 0.3}, {"anchors_outside_fraction": 0.5}]
)
def test_a_removed_setting_is_refused_in_training_and_ignored_in_use(on):
    (name,) = on
    with pytest.raises(
        UserError, match=rf"mapmix\.{name} is .*; version 0\.2\.0 has removed .*\. Delete it;"
    ) as caught:
        task_config({"mapmix": on})
    assert "\n" not in str(caught.value)
    assert rename_task_settings({"mapmix": on}, is_past=True) == {"mapmix": {}}
