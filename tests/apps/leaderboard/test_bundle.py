"""A bundle says what it said when it was packed, and what in it was changed since."""

import json
import shlex
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest
from lid_mapmix.apps.leaderboard import bundle as bundle_module
from lid_mapmix.apps.runs import launch

from .conftest import leaderboard


@pytest.fixture(scope="module")
def packed(finished, tmp_path_factory):
    """Return a bundle of the grid; not to be changed."""
    path = tmp_path_factory.mktemp("packed") / "bundle.zip"
    assert leaderboard(finished[0], "--no-training", "--paper", "--samples", 50, "--bundle", path) == 0
    return path


@pytest.fixture
def bundle(packed, tmp_path):
    """Return a copy of it that a test may change."""
    return Path(shutil.copy(packed, tmp_path))


def rewrite(path, name, change):
    """Change one file of a bundle."""
    kept = shutil.copy(path, path.with_name("old.zip"))
    with zipfile.ZipFile(kept) as old, zipfile.ZipFile(path, "w") as new:
        for each in old.namelist():
            text = old.read(each).decode()
            new.writestr(each, change(text) if each == name else text)


def test_a_bundle_holds_what_its_figures_follow_from(bundle, capsys):
    assert leaderboard("--verify", bundle) == 0
    assert "all figures were reproduced from the score files" in capsys.readouterr().out
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        content = json.loads(archive.read("leaderboard.json"))
    assert sum(name.endswith("/test_scores.csv") for name in names) == 8
    assert not any(name.endswith((".ckpt", ".wav", ".html")) for name in names)
    run = next(run for run in content["runs"] if run["variant"] == "mapmix")
    assert run["command"].startswith("lid-mapmix run -u fbank --data corpus")
    assert "mapmix.datamap=maps/fbank/" in run["command"]
    assert len(run["manifests"]["train.csv"]) == 64
    assert content["versions"]["s3prl"]


def test_a_figure_that_was_changed_is_found(bundle, capsys):
    def better(text):
        content = json.loads(text)
        content["rows"][0]["scores"]["acc"]["mean"] += 0.01
        content["rows"][1]["scores"]["ece"]["best"] = "yes"
        return json.dumps(content)

    rewrite(bundle, "leaderboard.json", better)
    assert leaderboard("--verify", bundle) == 1
    printed = capsys.readouterr()
    assert "fbank baseline scores acc mean: " in printed.out
    assert "fbank mapmix scores ece best: 'yes' is stated" in printed.out
    assert "2 figures differ" in printed.err


def test_scores_that_were_changed_are_found(bundle, capsys):
    name = "runs/mfcc/mapmix/corpus-seed-1/test_scores.csv"

    def turned(text):
        head, *rows = text.splitlines()
        cells = [row.split(",") for row in rows]
        # The likeliest class of each utterance becomes another one.
        return "\n".join([head, *(",".join([*row[:7], *row[:6:-1]]) for row in cells)]) + "\n"

    rewrite(bundle, name, turned)
    assert leaderboard("--verify", bundle) == 1
    printed = capsys.readouterr().out
    assert "runs/mfcc/mapmix/corpus-seed-1 scores acc: " in printed
    assert "mfcc mapmix scores acc mean: " in printed
    assert "runs/fbank" not in printed  # its p, against the changed run, may have changed


@pytest.mark.parametrize("content", [None, b"no zip", "no bundle"])
def test_what_is_no_bundle_is_one_line(content, tmp_path, capsys):
    path = tmp_path / "x.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("leaderboard.json", "{}")
    assert leaderboard("--verify", path) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and str(path) in error[0]


def test_a_bundle_of_the_same_runs_is_the_same(bundle, finished, tmp_path):
    again = tmp_path / "again.zip"
    assert leaderboard(finished[0], "--no-training", "--samples", 50, "--bundle", again) == 0
    assert again.read_bytes() == bundle.read_bytes()


def test_the_commands_of_a_bundle_make_its_runs_again(bundle, finished, corpus, tmp_path, monkeypatch):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "there")
        content = json.loads(archive.read("leaderboard.json"))
    (tmp_path / "there/corpus").symlink_to(corpus)
    monkeypatch.chdir(tmp_path / "there")
    run = next(run for run in content["runs"] if run["variant"] == "mapmix")
    assert run["versions"]["torch"]
    for command in (run["map_command"], run["command"]):
        program, name, *flags = shlex.split(command)
        assert (program, name) == ("lid-mapmix", "run")
        assert launch.main([*flags, "--device", "cpu"]) == 0
    scores = Path(run["folder"], "test_scores.csv").read_bytes()
    assert Path(run["folder"], "again/test_scores.csv").read_bytes() == scores


def test_rows_that_were_left_out_are_found(bundle, capsys):
    def without_the_worst(text):
        content = json.loads(text)
        del content["rows"][0]
        return json.dumps(content)

    rewrite(bundle, "leaderboard.json", without_the_worst)
    assert leaderboard("--verify", bundle) == 1
    printed = capsys.readouterr().out
    assert "fbank baseline: no row is stated, but its runs are in the bundle" in printed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "lid-mapmix leaderboard 9"}, "Verify it by the version of lid_mapmix that packed it"),
        ({"samples": 0}, "expected a bundle of a leaderboard"),
        ({"rows": {"x": 1}}, "expected a bundle of a leaderboard"),
        (
            {"runs": [{"upstream": "../x", "variant": "v", "data": "d", "seed": 0}]},
            "expected a bundle of a leaderboard",
        ),
        ({"runs": [{"upstream": "x", "variant": "v", "data": "d", "seed": 0}]}, "expected a bundle of a leaderboard"),
    ],
)
def test_a_bundle_of_another_form_is_one_line(change, says, bundle, capsys):
    rewrite(bundle, "leaderboard.json", lambda text: json.dumps(json.loads(text) | change))
    assert leaderboard("--verify", bundle) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and says in error[0]


def test_a_zip_that_would_fill_the_disk_is_not_unpacked(tmp_path, capsys):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("leaderboard.json", bytes(12_000_000))
    assert leaderboard("--verify", path) == 1
    assert "unpacks to 12,000,000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_damaged_bundle_is_one_line(place, bundle, capsys):
    content = bytearray(bundle.read_bytes())
    start = int(len(content) * place)
    content[start : start + 40] = bytes(40)
    bundle.write_bytes(content)
    assert leaderboard("--verify", bundle) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and "found a damaged or another file" in error[0]


def test_a_bundle_is_not_written_over(bundle, finished, capsys):
    before = bundle.read_bytes()
    assert leaderboard(finished[0], "--no-training", "--bundle", bundle) == 1
    assert bundle.read_bytes() == before
    assert "exists already" in capsys.readouterr().err
    bundle.write_bytes(b"old")
    flags = ("--no-training", "--paper", "--samples", 50)
    assert leaderboard(finished[0], *flags, "--bundle", bundle, "--overwrite") == 0
    assert bundle.read_bytes() == before


def add_entry(path, name, attributes=0, text=""):
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    entry.external_attr = attributes
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, text)


@pytest.mark.parametrize(
    ("name", "attributes"), [("/tmp/x", 0), ("../x", 0), ("x\\y", 0), ("x", 0o120777 << 16), ("x" * 300, 0)]
)
def test_entries_cannot_leave_the_folder_of_the_bundle(name, attributes, bundle, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there"))
    inside = []
    original = bundle_module._read_content

    def look(path, root):
        inside.extend(each for each in root.rglob("*") if each.is_symlink())
        return original(path, root)

    monkeypatch.setattr(bundle_module, "_read_content", look)
    before = {*Path("/tmp").glob("x*"), *tmp_path.glob("x*")}
    add_entry(bundle, name, attributes, "/etc")
    assert leaderboard("--verify", bundle) == int(len(name) > 255)
    error = capsys.readouterr().err.splitlines()
    assert (len(error) == 1 and f"{bundle}: expected a zip" in error[0]) if len(name) > 255 else not error
    assert {*Path("/tmp").glob("x*"), *tmp_path.glob("x*")} == before
    assert not inside and not list((tmp_path / "there").iterdir())


def test_a_data_map_outside_the_bundle_is_not_read(bundle, capsys):
    with zipfile.ZipFile(bundle) as archive:
        name = next(name for name in archive.namelist() if "mapmix" in name and name.endswith("leaderboard_run.json"))
    rewrite(bundle, name, lambda text: json.dumps(json.loads(text) | {"datamap": "/etc"}))
    assert leaderboard("--verify", bundle) == 1
    printed = capsys.readouterr().out
    assert "found '/etc'" in printed
    assert "/tmp/tmp" not in printed and f"{bundle}: " in printed


def test_what_a_bundle_says_does_not_move_the_cursor(bundle, capsys):
    def spoil(text):
        content = json.loads(text)
        content["rows"][0]["scores"]["acc"]["mean"] = "\x1b[2J\nall figures were reproduced"
        content["rows"][0]["\x1b]0;x\x07"] = 10**400
        return json.dumps(content)

    rewrite(bundle, "leaderboard.json", spoil)
    assert leaderboard("--verify", bundle) == 1
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert r"\x1b]0;x\x07" in printed.out


@pytest.mark.parametrize(
    "change", [{"samples": float("inf")}, {"samples": 1e300}, {"samples": 2**40}, {"seed": float("inf")}]
)
def test_extreme_numbers_in_a_bundle_are_one_line(change, bundle, capsys):
    def spoil(text):
        content = json.loads(text)
        if "seed" in change:
            content["runs"][0] |= change
        else:
            content |= change
        return json.dumps(content)

    rewrite(bundle, "leaderboard.json", spoil)
    assert leaderboard("--verify", bundle) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and f"{bundle}: expected a bundle of a leaderboard" in error[0]
