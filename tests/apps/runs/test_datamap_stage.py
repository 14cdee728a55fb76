"""Which data map that is there already is taken for the one that a run needs: that of the same weights."""

import json

import pytest
from helpers.checkpoints import save_initial
from helpers.launching import listing, train
from lid_mapmix.utils import digests as digests_module
from lid_mapmix.utils.run_folder import RunFolder


@pytest.fixture
def mapped(corpus, tmp_path):
    """Return a complete run on a frozen wav2vec 2.0, with its data map, and the flags that made it."""
    weights_file = save_initial(tmp_path / "small.pt")
    flags = ["-u", "wav2vec2_local", "-k", weights_file, "--frozen"]
    settings = {"downstream_expert.epochs": 1, "downstream_expert.datamap.regions": "quantile"}
    assert train(corpus, tmp_path / "run", *flags, settings=settings) == 0
    RunFolder(tmp_path / "run").clear()
    return tmp_path / "run", weights_file, lambda: train(corpus, tmp_path / "run", *flags, settings=settings)


def test_a_map_of_other_weights_under_the_same_name_is_refused(mapped, capsys):
    expdir, weights_file, again = mapped
    before = listing(expdir)
    save_initial(weights_file, seed=1)
    capsys.readouterr()
    assert again() == 1
    assert "expected a data map with the same weights, found another." in capsys.readouterr().err
    assert listing(expdir) == before


@pytest.mark.parametrize("is_old", [False, True])
def test_a_map_of_the_same_weights_is_taken_and_so_is_one_that_says_nothing_of_them(is_old, mapped, capsys):
    expdir, weights_file, again = mapped
    save_initial(weights_file)  # of the same content, at another time
    request = expdir / "datamap/request.json"
    state = json.loads(request.read_text())
    assert len(state["request"]["weights"]) == 64
    if is_old:
        del state["request"]["weights"]
        request.write_text(json.dumps(state))
    assert again() == 0
    assert "stage 1 of 2, data map: complete" in capsys.readouterr().out


def test_weights_in_a_folder_are_known_by_all_their_files(tmp_path):
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_text("1")
    digests = [digests_module.weights_digest(str(tmp_path))]
    for name in ("README.md", "config.json", "model.safetensors"):
        (tmp_path / name).write_text("2")
        digests.append(digests_module.weights_digest(str(tmp_path)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert digests_module.weights_digest("owner/name") is None
    assert digests_module.weights_digest(None) is None


def test_a_large_file_that_has_not_changed_is_read_once(tmp_path, monkeypatch):
    """A grid asks for the digest of the same weights once a run."""
    path, read = tmp_path / "weights.pt", []
    file_digest = digests_module.hashlib.file_digest
    monkeypatch.setattr(digests_module.hashlib, "file_digest", lambda *given: read.append(given) or file_digest(*given))
    monkeypatch.setattr(digests_module, "_LARGE_BYTES", 2)
    path.write_bytes(b"one")
    first = {digests_module.file_digest(path) for _ in range(3)}
    assert len(first) == len(read) == 1
    path.write_bytes(b"others")
    assert digests_module.file_digest(path) not in first
    assert len(read) == 2
