"""What all published corpora share: nobody in two splits, only classes that train has, no more hours than asked for."""

import itertools
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import read_rows, values, write_tone
from lid_mapmix.data.prepare.listing import Utterance, prepare_listed
from lid_mapmix.data.prepare.options import Options
from lid_mapmix.data.prepare.splitting import join_units
from lid_mapmix.errors import UserError

NAMES = st.sampled_from(["", "p", "q", "r", "s", "t", "u", "v"])
SECONDS = 0.3


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> str:
    return str(write_tone(tmp_path_factory.mktemp("audio") / "one.wav", SECONDS))


def components(columns: list[list[str]]) -> set[frozenset[int]]:
    """Give recordings that share a value the lower of their numbers, until nothing changes."""
    count = len(columns[0])
    numbers = list(range(count))
    for _ in range(count):
        for first, second in itertools.combinations(range(count), 2):
            if any(column[first] == column[second] != "" for column in columns):
                numbers[first] = numbers[second] = min(numbers[first], numbers[second])
    return {frozenset(place for place in range(count) if numbers[place] == number) for number in numbers}


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=12))
def test_joined_units_are_connected(rows):
    columns = [list(column) for column in zip(*rows, strict=True)]
    found = defaultdict(set)
    for number, unit in enumerate(join_units(*(np.array(column, dtype=object) for column in columns))):
        found[int(unit)].add(number)
    assert set(map(frozenset, found.values())) == components(columns)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", "", "", "train", "dev", "test"]), NAMES, NAMES),
        min_size=12,
        max_size=60,
    ),
    st.none() | st.floats(0.0001, 0.001),
    st.integers(0, 2),
)
def test_nobody_is_in_two_splits(audio, rows, hours, seed):
    utterances = [
        Utterance(audio, class_name, f"{number}", split, SECONDS, speaker=speaker, group=group)
        for number, (class_name, split, speaker, group) in enumerate(rows)
    ]
    options = Options(dev_share=0.3, test_share=0.3, max_hours_per_class=hours, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepare_listed(Path(folder), utterances, corpus="any", origin=Path(audio).parent, options=options)
        except UserError as error:
            # Too few, or too entangled.
            assert any(text in str(error) for text in ("where train, dev and test", "shares", "nothing is left"))
            assert not list(Path(folder).iterdir())
            return
        # Which also looks for speakers and groups in two splits.
        written = read_rows(Path(folder))
    for row in itertools.chain(*written.values()):
        published = rows[int(row["id"])][1]
        assert published in {"", *(split for split in written if row in written[split])}
    for split in ("dev", "test"):
        assert values(written.get(split, []), "class") <= values(written["train"], "class")
    if hours is not None:
        for name in values(written["train"], "class"):
            count = sum(row["class"] == name for row in written["train"])
            assert count == 1 or count * SECONDS <= hours * 3600


def test_a_publishers_dev_is_not_drawn_anew(audio, tmp_path):
    utterances = [
        Utterance(audio, name, f"{name}{number}", "dev" if number < 3 else "", SECONDS, speaker=f"{name}{number}")
        for name, number in itertools.product("ab", range(13))
    ]
    options = Options(dev_share=0.4, test_share=0.2)
    rows = read_rows(prepare_listed(tmp_path, utterances, corpus="any", origin=tmp_path, options=options))
    assert values(rows["dev"], "id") == {f"{name}{number}" for name in "ab" for number in range(3)}
    assert {split: len(some) for split, some in rows.items()} == {"train": 16, "dev": 6, "test": 4}


def test_an_interrupted_preparation_starts_again_and_changes_are_noticed(audio, tmp_path):
    def prepare(count: int, **others):
        utterances = [Utterance(audio, "a", f"{number}", seconds=SECONDS) for number in range(count)]
        return prepare_listed(tmp_path / "data", utterances, corpus="any", origin=tmp_path, options=Options(**others))

    folder = prepare(9)
    before = (folder / "train.csv").read_bytes()
    (folder / "test.csv").unlink()
    assert (prepare(9) / "test.csv").is_file()
    assert (folder / "train.csv").read_bytes() == before
    with pytest.raises(UserError, match=r"already holds labels.yaml, test.csv, dev.csv, train.csv.*--overwrite"):
        prepare(10)
    assert (folder / "train.csv").read_bytes() == before
    prepare(10, overwrite=True)
    assert (folder / "train.csv").read_bytes() != before


def test_copies_of_audio_from_elsewhere_stay_apart(tmp_path):
    paths = [str(write_tone(tmp_path / name / "x.wav")) for name in ("one", "two", "three")]
    utterances = [Utterance(path, "a", path, speaker=path) for path in paths]
    folder = prepare_listed(
        tmp_path / "data", utterances, corpus="any", origin=tmp_path / "one", options=Options(copy_audio=True)
    )
    rows = read_rows(folder)
    assert len(list((folder / "audio").rglob("*.wav"))) == 3
    assert len(values(itertools.chain(*rows.values()), "audiopath")) == 3


def test_nothing_listed(tmp_path):
    with pytest.raises(UserError, match="lists no utterance"):
        prepare_listed(tmp_path / "data", [], corpus="any", origin=tmp_path, options=Options())
