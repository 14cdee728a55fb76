from pathlib import Path

import numpy as np
import pytest
from helpers.score_files import MadeSystem, write_manifest, write_nist_key, write_utt2lang
from lid_mapmix.scoring.files.keys import join_key, read_key
from lid_mapmix.scoring.files.own import ScoresCsv
from lid_mapmix.scoring.files.system_output import SystemOutput
from lid_mapmix.utils.errors import UserError

COUNT = 12


def test_the_three_kinds_of_keys_say_the_same(tmp_path):
    system = MadeSystem()
    keys = [
        read_key(write_manifest(tmp_path / "m.csv", system)),
        read_key(write_nist_key(tmp_path / "k.tsv", system)),
        read_key(write_utt2lang(tmp_path / "utt2lang", system)),
    ]
    for key in keys:
        assert dict(zip(key["id"].tolist(), key["class"].tolist(), strict=True)) == dict(
            zip(system.ids, system.truth, strict=True)
        )
    for key in keys[:2]:
        found = dict(zip(key["id"].tolist(), key["source"].tolist(), strict=True))
        assert found == dict(zip(system.ids, system.source, strict=True))


def test_a_key_without_ids_has_paths(tmp_path):
    (tmp_path / "m.csv").write_text("audiopath,class,seconds\na/b.wav,x,3\n")
    assert read_key(tmp_path / "m.csv")["id"].tolist() == ["a/b.wav"]


def test_a_key_adds_and_corrects_columns(tmp_path):
    ids, truth = np.array([f"u{number}" for number in range(COUNT)]), np.array(list("abc") * (COUNT // 3))
    group = {"group": np.array([f"g{number // 2}" for number in range(COUNT)])}
    output = SystemOutput(
        Path("system"), ScoresCsv(), tuple("abc"), ids, truth, np.arange(1.0, COUNT + 1), columns=group
    )
    seconds = ["3", "n/a", ""] + ["10"] * (COUNT - 3)
    columns = zip(
        ids[::-1], truth[::-1], seconds, ["h"] * COUNT, [f"s{number}" for number in range(COUNT)], strict=True
    )
    lines = ["id,class,seconds,group,speaker", *map(",".join, columns)]
    path = tmp_path / "key.csv"
    path.write_text("\n".join(lines))
    joined = join_key(output, path)
    np.testing.assert_array_equal(joined.seconds[::-1][:4], [3, np.nan, np.nan, 10])
    assert joined.columns["group"].tolist() == ["h"] * COUNT
    assert joined.columns["speaker"].tolist() == [f"s{number}" for number in range(COUNT)][::-1]
    assert "class" not in joined.columns
    path.write_text("\n".join(lines).replace(",3,", ",long,"))
    with pytest.raises(UserError, match="a number in row 2, found 'long'"):
        join_key(output, path)
