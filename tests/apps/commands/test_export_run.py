"""``lid-mapmix export --push-to-hub``: uploads to a Hub on this machine, and what is refused."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.hub import OF_OTHERS, files_of
from helpers.launching import ROOT, free_port
from helpers.synthetic import hum
from huggingface_hub import ModelCard, constants
from lid_mapmix import Identifier
from lid_mapmix.apps import cli

RUN = ROOT / "tests/data/old_run/run"
NAME = "alice/dialects"


def export(*flags, run=RUN):
    return cli.main(["export", str(run), *map(str, flags)])


def refused(capsys, says, *flags, run=RUN):
    """Check that an export fails with one line, the last of standard error."""
    capsys.readouterr()
    assert export(*flags, run=run) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert says in line


def answer(name):
    return Identifier.from_pretrained(name, "cpu", detect_speech=False)(hum(2.0, 200, 1), 16_000).probabilities


@pytest.fixture(autouse=True)
def own_temporary_files(tmp_path, monkeypatch):
    """Let temporary files be in a folder of the test, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())


def test_a_model_is_uploaded_and_gives_the_answers_of_the_run(hub, capsys):
    assert export("--push-to-hub", NAME) == 0
    address, _, rest = capsys.readouterr().out.partition(": uploaded, ")
    assert address == f"{hub.url}/{NAME}"
    assert rest.endswith(f"MB. Use it by 'lid-mapmix predict {NAME} recording.wav'.\n")
    assert set(hub.files(NAME)) == {
        ".gitattributes",
        "README.md",
        "calibration.json",
        "config.json",
        "model.safetensors",
    }
    assert NAME not in hub.private
    np.testing.assert_array_equal(answer(NAME), answer(RUN))
    card = ModelCard(hub.files(NAME)["README.md"].decode())
    assert f'Identifier.from_pretrained("{NAME}")' in card.content
    assert f"`{NAME}` is the name of this model on the Hugging Face Hub" in card.content
    assert card.data.model_name == "dialects"
    results = {(each.dataset_name, each.dataset_split, each.metric_name) for each in card.data.eval_results}
    for score in ("accuracy", "macro F1", "expected calibration error after calibration"):
        assert ("data", "test", score) in results


def test_a_space_is_uploaded_with_its_code(hub, capsys):
    assert export("--push-to-hub", NAME, "--space", "--private") == 0
    assert capsys.readouterr().out.startswith(f"{hub.url}/spaces/{NAME}: uploaded, ")
    assert hub.spaces == {NAME: "gradio"}
    assert NAME in hub.private
    files = hub.files(NAME)
    assert {"app.py", "requirements.txt", "config.json", "lid_mapmix/apps/space.html.jinja"} < set(files)
    assert ModelCard(files["README.md"].decode()).data.to_dict()["app_file"] == "app.py"
    # The card that the Hub makes for a new Space is no earlier export; its own one is.
    refused(capsys, "holds calibration.json already. Name another space", "--push-to-hub", NAME, "--space")


def test_a_folder_is_written_as_well(hub, tmp_path):
    assert export("--push-to-hub", NAME, "--out", tmp_path / "dialects") == 0
    written = files_of(tmp_path / "dialects")
    assert {path: hub.files(NAME)[path] for path in written} == written


def test_a_private_model(hub, capsys):
    assert export("--push-to-hub", NAME, "--private") == 0
    assert hub.private == {NAME}
    hub.commit("alice/public", {})
    refused(capsys, "expected a private model, found a public one", "--push-to-hub", "alice/public", "--private")
    assert hub.files("alice/public") == {}


def test_an_earlier_export_is_replaced_on_request_only(hub, capsys):
    others = {"notes.txt": b"mine", "README.md": b"edited", "novelty.safetensors": b"of the earlier weights"}
    hub.commit(NAME, others)
    refused(capsys, "holds README.md already. Name another model, or replace it by --overwrite.", "--push-to-hub", NAME)
    assert hub.files(NAME) == others
    assert export("--push-to-hub", NAME, "--overwrite") == 0
    found = hub.files(NAME)
    assert set(found) == {"notes.txt", "README.md", "calibration.json", "config.json", "model.safetensors"}
    assert found["notes.txt"] == b"mine"
    answer(NAME)


def test_what_the_server_refuses_is_one_line(hub, capsys, monkeypatch):
    refused(capsys, "don't have the rights to create a model under", "--push-to-hub", f"{OF_OTHERS}/dialects")
    with monkeypatch.context() as patch:
        patch.delenv("HF_TOKEN")
        refused(capsys, "401 Unauthorized", "--push-to-hub", NAME)
    hub.status = 500
    refused(capsys, f"{NAME}: expected to upload to {hub.url}, found Server error '500 ", "--push-to-hub", NAME)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    refused(capsys, "Connection refused", "--push-to-hub", NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(capsys, "HF_HUB_OFFLINE", "--push-to-hub", NAME)
    assert not hub.models


def test_flags_that_name_no_place_are_refused_before_anything_is_read(hub, capsys, tmp_path):
    nothing = tmp_path / "nothing"
    for flags in ([], ["--private"], ["--out", tmp_path / "out", "--private"], ["--push-to-hub", "dialects"]):
        refused(capsys, "expected --out DIR or --push-to-hub USER/NAME", *flags, run=nothing)
    for name in (
        "dialects",
        "alice/",
        "/dialects",
        "alice/..",
        "alice/a b",
        "alice/dialects@v1",
        "alice/\u00e9",
        "a/b/c",
    ):
        refused(capsys, f"found {name}. ", "--out", tmp_path / "out", "--push-to-hub", name, run=nothing)
    refused(capsys, "found none. ", "--out", tmp_path / "out", "--push-to-hub", "", run=nothing)
    refused(capsys, "found --private without --push-to-hub. ", "--out", tmp_path / "out", "--private", run=nothing)
    refused(capsys, "no such checkpoint", "--push-to-hub", NAME, run=nothing)
    assert not hub.requests
    assert not Path(tmp_path / "out").exists()


def test_what_another_process_wrote_in_the_meantime_is_kept(capsys, tmp_path, monkeypatch):
    from lid_mapmix.inference import exported

    out, write = tmp_path / "out", exported.write_export

    def write_while_another_process_does(folder, *arguments, **keywords):
        write(folder, *arguments, **keywords)
        out.mkdir()
        (out / "notes.txt").write_text("mine")

    monkeypatch.setattr(exported, "write_export", write_while_another_process_does)
    refused(capsys, "exists already", "--out", out)
    assert [path.name for path in tmp_path.iterdir() if path.name != "temporary"] == ["out"]
    assert (out / "notes.txt").read_text() == "mine"


def test_an_unknown_flag_is_named(hub, capsys):
    with pytest.raises(SystemExit):
        export("--push-to-hub", NAME, "--publik")
    assert "unrecognized arguments: --publik" in capsys.readouterr().err
