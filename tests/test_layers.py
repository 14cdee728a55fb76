import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix import layers
from lid_mapmix.errors import UserError
from lid_mapmix.layers import merge, read_upstream_config, read_variant, read_yaml, variant_names

KEYS = st.sampled_from("abcd")
TREES = st.recursive(
    st.dictionaries(KEYS, st.integers(), max_size=3),
    lambda children: st.dictionaries(KEYS, st.integers() | st.lists(st.integers(), max_size=2) | children, max_size=4),
    max_leaves=12,
)


def leaves(tree, place=()):
    """Return place → value of everything that is no mapping, and of mappings without a key."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, (*place, key))
        else:
            found[*place, key] = value
    return found


@given(base=TREES, over=TREES)
def test_merge_puts_one_over_the_other_and_changes_neither(base, over):
    before = copy.deepcopy((base, over))
    merged = merge(base, over)
    assert (base, over) == before
    found, above, below = leaves(merged), leaves(over), leaves(base)
    for place, value in above.items():
        if value == {} and not isinstance(value, list):
            continue  # an empty section takes nothing away
        assert found[place] == value
    for place, value in found.items():
        assert above.get(place, below.get(place)) == value or value == {}
    for place, value in below.items():
        hidden = any(place[: len(other)] == other[: len(place)] for other in above)
        assert hidden or found[place] == value


@given(base=TREES, over=TREES)
def test_merge_is_idempotent_and_has_a_neutral_element(base, over):
    assert merge(base, {}) == base == merge(base, base)
    assert merge({}, over) == over
    assert merge(merge(base, over), over) == merge(base, over)


def test_merge_by_hand():
    base = {"runner": {"a": 1, "b": [1, 2]}, "lr": 1, "part": {"x": 1}}
    over = {"runner": {"b": [3], "c": None}, "part": None, "new": {"y": 2}}
    expected = {"runner": {"a": 1, "b": [3], "c": None}, "lr": 1, "part": None, "new": {"y": 2}}
    assert merge(base, over) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [b", "no valid YAML"),
        ("\ta: b", "no valid YAML"),
        ("- a", "found list"),
        ("", "found NoneType"),
        ("only words", "found str"),
        (b"\xff\xfe\x00", "no valid YAML"),
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
    with pytest.raises(UserError, match=r"no variant 'mapmx'; there are .*mapmix"):
        read_variant("mapmx")


def test_upstream_configs(tmp_path, monkeypatch):
    assert set(read_upstream_config("fbank")) == {"finetune", "frozen"}
    assert read_upstream_config("no_such_upstream") is None
    installed, checkout = tmp_path / "installed", tmp_path / "checkout"
    for folder in (installed, checkout):
        folder.mkdir()
        (folder / "u.yaml").write_text(f"finetune: {folder.name}")
    monkeypatch.setattr(layers, "_UPSTREAM_CONFIGS", (installed, checkout))
    assert read_upstream_config("u") == {"finetune": "installed"}
    (installed / "u.yaml").unlink()
    assert read_upstream_config("u") == {"finetune": "checkout"}
