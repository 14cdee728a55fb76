"""KeSpeech, on a small copy of its task of subdialect identification."""

import itertools
from pathlib import Path

import pytest
from helpers.layouts import prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.data.labels import read_labels
from lid_mapmix.utils.errors import UserError

SUBDIALECTS = ("Ji-Lu", "Jiang-Huai", "Mandarin")


@pytest.fixture
def release(tmp_path) -> Path:
    root = tmp_path / "KeSpeech"
    for split in ("train", "dev", "test"):
        tables: dict[str, list] = {"wav.scp": [], "utt2subdialect": [], "utt2spk": []}
        for subdialect, take in itertools.product(SUBDIALECTS, range(2)):
            speaker, name = f"{split}{subdialect}", f"{split}{subdialect}_{take}"
            path = f"Audio/{speaker}/phase1/{name}.wav"
            write_tone(root / path, 0.5)
            for file, value in zip(tables, (path, subdialect, speaker), strict=True):
                tables[file].append((name, value))
        for file, lines in tables.items():
            write_lines(root / "Tasks/SubdialectID" / f"{split}_phase1" / file, lines, between=" ")
    return root


def test_the_publishers_splits(release, tmp_path):
    rows = read_rows(prepare("kespeech", release, tmp_path / "data"))
    for split, members in rows.items():
        assert len(members) == 6
        assert values(members, "class") == set(SUBDIALECTS)
        assert values(members, "speaker") == {f"{split}{subdialect}" for subdialect in SUBDIALECTS}
        assert values(members, "source") == {"kespeech"}
    # Not by the part before the hyphen.
    assert read_labels(tmp_path / "data/labels.yaml").clusters == {"mandarin": ("Mandarin", "Ji-Lu", "Jiang-Huai")}


def test_other_layouts_say_what_was_found(release, tmp_path):
    def refused(message: str, folder: Path = release) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("kespeech", folder, tmp_path / "data")
        assert "\n" not in str(raised.value)

    refused("SubdialectID: no such folder", tmp_path)
    task = release / "Tasks/SubdialectID"
    table = task / "train_phase1/utt2subdialect"
    kept = table.read_text()
    table.write_text(kept.replace(" Ji-Lu", " Sichuan"))
    refused("expected the classes Mandarin, Beijing, Ji-Lu, .* found Sichuan")
    table.write_text("".join(kept.splitlines(keepends=True)[1:]))
    refused(r"utt2subdialect: expected a language for trainJi-Lu_0, found none \(1 such\)")
    table.unlink()
    refused("utt2subdialect: no such file; .*train_phase1 has utt2spk, wav.scp")
    table.write_text(kept)
    (task / "dev_phase1").rename(task / "other")
    refused("expected utterances for dev.csv, found none")
    assert not (tmp_path / "data").exists()
