import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.config import sources as layers
from lid_mapmix.config.sources import merge, read_variant, read_yaml, upstream_config_path, variant_names
from lid_mapmix.utils.errors import UserError

KEYS = st.sampled_from("abcd")
VALUES = st.none() | st.integers() | st.lists(st.integers(), max_size=2)
TREES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3),
    lambda children: st.dictionaries(KEYS, VALUES | children, max_size=4),
    max_leaves=12,
)


def flat(tree, place=()):
    """Return place → value; a section stands as ... at its own place, above what is in it."""
    found = {}
    for key, value in tree.items():
        found[*place, key] = ... if isinstance(value, dict) else value
        if isinstance(value, dict):
            found |= flat(value, (*place, key))
    return found


@given(base=TREES, over=TREES)
def test_merge_puts_one_over_the_other_and_changes_neither(base, over):
    before = copy.deepcopy((base, over))
    below, above = flat(base), flat(over)
    sections = {place for place, value in below.items() if value is ...}
    if any(place in sections and value is not ... and value is not None for place, value in above.items()):
        with pytest.raises(UserError, match="expected 'key: value' lines"):
            merge(base, over)
    else:
        empty = {place for place in sections if place in above and above[place] is None}
        assert flat(merge(base, over)) == below | {place: above[place] for place in above if place not in empty}
    assert (base, over) == before


@given(tree=TREES)
def test_merge_is_idempotent_and_has_a_neutral_element(tree):
    assert merge(tree, {}) == merge({}, tree) == merge(tree, tree) == tree


def test_merge_by_hand():
    base = {"runner": {"a": 1, "b": [1, 2]}, "lr": 1, "part": {"x": 1}}
    over = {"runner": {"b": [3], "c": None}, "lr": None, "part": None, "new": {"y": 2}}
    expected = {"runner": {"a": 1, "b": [3], "c": None}, "lr": None, "part": {"x": 1}, "new": {"y": 2}}
    assert merge(base, over) == expected


def test_a_value_in_place_of_a_section_is_one_line():
    with pytest.raises(UserError, match=r"^configuration: runner is 'fast'; expected") as caught:
        merge({"runner": {"a": 1}}, {"runner": "fast"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [b", "not valid YAML"),
        ("\ta: b", "not valid YAML"),
        ("- a", "found list"),
        ("", "found NoneType"),
        ("only words", "found str"),
        (b"\xff\xfe\x00", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text, says):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=says) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no such configuration file"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)


def test_variants():
    assert set(variant_names()) >= {"baseline", "datamap", "latent_random", "amb_easy", "mapmix"}
    assert read_variant("latent_random") == {"downstream_expert": {"mapmix": {"mix": "latent"}}}
    with pytest.raises(UserError, match=r"-v mapmx: expected one of .*mapmix"):
        read_variant("mapmx")


def test_upstream_configs(tmp_path, monkeypatch):
    content = read_yaml(upstream_config_path("fbank"))
    assert set(content) == {"about", "parameters", "licence", "source", "finetune", "frozen"}
    assert upstream_config_path("no_such_upstream") is None
    installed, checkout = tmp_path / "installed", tmp_path / "checkout"
    for folder in (installed, checkout):
        folder.mkdir()
        (folder / "u.yaml").write_text(f"finetune: {folder.name}")
    monkeypatch.setattr(layers, "_UPSTREAM_CONFIGS", (installed, checkout))
    assert read_yaml(upstream_config_path("u")) == {"finetune": "installed"}
    (installed / "u.yaml").unlink()
    assert read_yaml(upstream_config_path("u")) == {"finetune": "checkout"}
