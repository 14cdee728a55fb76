"""LRE 2017, on a small copy of the layout of LDC2022E16 and E17."""

import itertools
import logging
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_lines, write_tone
from helpers.synthetic import write_sphere_ulaw
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.apps import cli
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.prepare import lre17_segments
from lid_mapmix.utils.errors import UserError

SHORT = ("in_ten", "in_whole", "alone")
DIALECTS = ("ara-apc", "ara-arz", "eng-usg", "por-brz")
CALLS = 9
SIDE_SECONDS = 24
# Name, nominal duration, and where in a recording, in seconds.
SEGMENTS = (
    ("whole", 30, 0, 32),
    ("ten", 10, 1, 12),
    ("in_ten", 3, 5, 9),
    ("in_whole", 3, 13, 18),
    ("alone", 3, 31, 35),
)


def write_codes(path: Path, codes: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sphere_ulaw(path, codes)


def write_sph(path: Path, seconds: float) -> None:
    write_codes(path, bytes(range(250)) * round(8000 * seconds / 250))


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("lre17")
    train, test = root / "LDC2022E16", root / "LDC2022E17"
    lines = [("segmentid", "language_code", "file_duration")]
    for dialect, call in itertools.product(DIALECTS, range(CALLS)):
        # por-brz is as small beside the others as in the release.
        for side in "ab" if dialect != "por-brz" else "a" * (call < 3):
            name = f"2011{call:04d}_085632_{DIALECTS.index(dialect)}-{side}.sph"
            write_sph(train / "data/train" / dialect / name, SIDE_SECONDS)
            lines.append((name, dialect, "24.0"))
    write_lines(train / "docs/train_info.tab", lines)
    lines = [("segmentid", "language_code", "data_source", "length_condition", "cut_from")]
    generator = np.random.default_rng(0)
    for dialect in DIALECTS:
        codes = generator.integers(0, 256, 8000 * 36, dtype=np.uint8)
        codes[8000 * 19 : 8000 * 24] = 255
        for name, nominal, start, end in SEGMENTS:
            write_codes(train / "data/dev" / f"{dialect}_{name}.sph", codes[8000 * start : 8000 * end].tobytes())
            lines.append((f"{dialect}_{name}.sph", dialect, "mls14", nominal, f"{dialect}_30"))
    write_lines(train / "docs/dev_info.tab", lines)
    lines = [("segmentid", "language_code", "data_source", "speech_duration")]
    for dialect, unknown in zip(DIALECTS, itertools.cycle(["", "n/a", "NA"]), strict=False):
        write_sph(test / "data/eval" / f"lre17_{dialect}.sph", 3.5)
        write_tone(test / "data/eval" / f"lre17_{dialect}_video.flac", 5.25, 44_100)
        lines += [
            (f"lre17_{dialect}.sph", dialect, "MLS14", "3"),
            (f"lre17_{dialect}_video.flac", dialect, "VAST", unknown),
        ]
    write_lines(test / "docs/lre17_eval_segment_keys.tsv", lines)
    return train, test


def test_all_of_the_training_data_in_pieces(releases, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("lre17", releases[0], tmp_path / "data", eval=releases[1]))
    assert "12 of 24 cut segments are part of a longer one" in caplog.text
    for dialect in DIALECTS:
        groups = {row["id"].removeprefix(f"dev/{dialect}_"): row["group"] for row in rows["dev"]}
        whole, alone = f"dev/{dialect}_whole.sph", f"dev/{dialect}_alone.sph"
        assert [groups[f"{name}.sph"] for name, *_ in SEGMENTS] == [whole, whole, whole, whole, alone]
    assert len(rows["train"]) == 2 * (3 * CALLS * 2 + 3)
    ends = {(row["start"], row["end"]) for row in rows["train"]}
    assert ends == {("0.0", "12.0"), ("12.0", "24.0")}
    # Both sides of a call are one group.
    assert len(values(rows["train"], "group")) == 3 * CALLS + 3
    assert {(row["seconds"], row["source"]) for row in rows["dev"]} == {
        (f"{nominal}.0", "mls14") for nominal in (3, 10, 30)
    }
    assert {(row["seconds"], row["source"]) for row in rows["test"]} == {("3.0", "mls14"), ("5.25", "vast")}
    assert read_labels(tmp_path / "data/labels.yaml").clusters == {
        "arabic": ("ara-apc", "ara-arz"),
        "english": ("eng-usg",),
        "iberian": ("por-brz",),
    }
    assert not list((tmp_path / "data").rglob("*.sph"))


def test_three_sets_have_no_call_in_common_where_there_is_enough(releases, tmp_path, caplog):
    sets = []
    for number in (1, 2, 3):
        caplog.clear()
        flags = {"eval": releases[1], "subset": 100 / 3600, "set": number}
        with caplog.at_level(logging.INFO):
            rows = read_rows(prepare("lre17", releases[0], tmp_path / f"set{number}", **flags))
        assert "por-brz has 0.02 h, too little for 3 sets of 0.03 h without a call in common: each has" in caplog.text
        assert "ara-apc has" not in caplog.text
        for dialect in DIALECTS:
            seconds = sum(float(row["seconds"]) for row in rows["train"] if row["class"] == dialect)
            assert seconds == pytest.approx(72 if dialect == "por-brz" else 96, abs=12)
        sets.append(rows["train"])
    for one, other in itertools.combinations(sets, 2):
        assert values(one, "class") == set(DIALECTS)
        shared = values(one, "group") & values(other, "group")
        assert {group.rsplit("_", 1)[1] for group in shared} == {str(DIALECTS.index("por-brz"))}


def test_dev_from_calls_that_no_set_has(releases, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    dev, trained = [], set()
    for number in (1, 2, 3):
        flags = {"subset": 60 / 3600, "set": number, "dev_hours": 40 / 3600}
        rows = read_rows(prepare("lre17", releases[0], tmp_path / f"{number}", **flags))
        assert "test" not in rows
        dev.append(values(rows["dev"], "id"))
        assert values(rows["dev"], "class") == set(DIALECTS)
        trained |= values(rows["train"], "group")
    assert dev[0] == dev[1] == dev[2]
    assert "por-brz has 0.02 h, of which dev takes 20 %, not 0.01 h" in caplog.text
    assert "ara-apc has" not in caplog.text
    assert not {row["group"] for row in rows["dev"]} & trained


def test_long_files_and_groups_of_their_own(releases, tmp_path):
    flags = {"max_seconds": 5, "piece_seconds": 0, "no_cut_search": True}
    folder = prepare("lre17", releases[0], tmp_path / "data", dev=releases[0], **flags)
    rows = read_rows(folder)
    assert {row["seconds"] for row in rows["train"]} == {f"{SIDE_SECONDS}.0"}
    assert values(rows["dev"], "id") == {f"dev/{dialect}_{name}.sph" for dialect in DIALECTS for name in SHORT}
    assert values(rows["dev"], "group") == values(rows["dev"], "id")


def test_the_seed_decides(releases, tmp_path):
    def drawn(name: str, seed: int) -> dict[str, bytes]:
        arguments = ["prepare", "lre17", str(releases[0]), "--out", str(tmp_path / name), "--eval", str(releases[1])]
        assert cli.main([*arguments, "--subset", "0.02", "--set", "2", "--seed", str(seed)]) == 0
        return contents(tmp_path / name)

    assert drawn("one", 0) == drawn("two", 0)
    assert drawn("one", 0)["train.csv"] != drawn("three", 1)["train.csv"]


@pytest.fixture
def broken(tmp_path) -> Path:
    root = tmp_path / "release"
    for dialect in DIALECTS:
        write_sph(root / "data/train" / dialect / f"{dialect}.sph", 1)
        write_sph(root / "data/dev" / f"{dialect}.sph", 1)
    for name in ("train", "dev"):
        lines = [("segmentid", "language_code"), *((f"{dialect}.sph", dialect) for dialect in DIALECTS)]
        write_lines(root / f"docs/{name}_info.tab", lines)
    return root


def test_other_layouts_say_what_was_found(broken, tmp_path):
    def refused(message: str, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("lre17", broken, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    with pytest.raises(UserError, match="no such folder"):
        prepare("lre17", tmp_path / "nowhere", tmp_path / "data")
    refused(r"docs/dev_info.tab: no such table; .* has release/", dev=tmp_path)
    table = broken / "docs/train_info.tab"
    kept = table.read_text()
    write_lines(table, [("segment", "language"), ("x.sph", "ara-apc")])
    refused("expected the column segmentid, language_code, found segment, language")
    write_lines(table, [("segmentid", "language_code"), ("x.sph", "deu-deu")])
    refused("expected the 14 dialects of LRE 2017 \\(.*\\), found deu-deu")
    table.write_text(kept + "ara-apc.sph\tara-apc\n")
    refused(r"expected unique ids, found train/ara-apc.sph 2 times")
    table.write_text(kept + "gone.sph\tara-apc\n")
    refused(r"expected the listed audio, found .*gone.sph missing \(1 such\)")
    table.write_text(kept + "one field\n")
    refused("expected 2 fields \\(.*\\) in line 6, found 1")
    table.write_text(kept)
    table.unlink()
    refused(r"docs/train_info.tab: no such table; .*release/docs has dev_info.tab")
    with pytest.raises(UserError, match=r"docs/train_info.tab: no such table; .*release/data has dev/, train/"):
        prepare("lre17", broken / "data", tmp_path / "data", dev=broken)
    table.write_text(kept)
    (broken / "docs/dev_info.tab").unlink()
    refused("dev_info.tab: no such table; .* has data/, docs/.*--dev-hours")
    (broken / "data/train").rename(broken / "speech")
    (broken / "data").rename(broken / "other")
    refused("expected a folder data/train or data with audio, found docs/, other/, speech/", dev_hours=0.1)
    assert not (tmp_path / "data").exists()


def test_a_set_without_a_size(releases, tmp_path, capsys):
    assert cli.main(["prepare", "lre17", str(releases[0]), "--out", str(tmp_path / "data"), "--set", "2"]) == 1
    assert "--subset" in capsys.readouterr().err


def test_dev_is_from_one_place(releases, tmp_path, capsys):
    flags = ["--dev", str(releases[0]), "--dev-hours", "1"]
    assert cli.main(["prepare", "lre17", str(releases[0]), "--out", str(tmp_path / "data"), *flags]) == 1
    assert "--dev and --dev-hours" in capsys.readouterr().err


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(20, 600), min_size=2, max_size=25), min_size=1, max_size=3),
    st.floats(30, 2000),
    st.sampled_from([0.0, 60.0, 1000.0]),
    st.integers(0, 3),
)
def test_draws_have_no_call_in_common(durations, wanted, dev_seconds, seed):
    classes = np.repeat([f"class{number}" for number in range(len(durations))], list(map(len, durations)))
    calls = np.array([f"call{number}" for number in range(len(classes))])
    recordings, starts, ends = lre17_segments.cut_evenly(np.concatenate(durations), 10)
    classes, calls, seconds = classes[recordings], calls[recordings], ends - starts
    assert seconds.min() > 6.6
    assert seconds.max() < 20.1
    hours, dev_hours = wanted / 3600, dev_seconds / 3600
    pieces = {"class": classes, "group": calls, "seconds": seconds}
    draws = [
        Namespace(subset_hours=hours, number=number, dev_hours=dev_hours, seed=seed, piece_seconds=10, max_seconds=None)
        for number in (1, 2, 3)
    ]
    drawn = [lre17_segments.draw_pieces(pieces, draw) for draw in draws]
    for name, calls_of in zip(sorted(set(classes)), durations, strict=True):
        of_class = classes == name
        available = sum(calls_of) - seconds[of_class & (drawn[0] == "dev")].sum()
        for splits in drawn:
            assert not set(calls[of_class & (splits == "train")]) & set(calls[of_class & (splits == "dev")])
            assert np.array_equal(splits == "dev", drawn[0] == "dev")
            found = seconds[of_class & (splits == "train")].sum()
            assert found == pytest.approx(min(wanted, available), abs=20.1)
        # Each set ends within a call, of which no other may have the rest.
        if available > 3 * (wanted + max(calls_of)):
            for one, other in itertools.combinations(drawn, 2):
                assert not set(calls[of_class & (one == "train")]) & set(calls[of_class & (other == "train")])
