"""What the folder of a run holds, who may write there, and what is never deleted."""

import pytest
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import RunFolder, choose_checkpoint


def test_which_checkpoint_a_folder_stands_for(tmp_path):
    for name in ("states-9.ckpt", "states-10.ckpt", "states-old.ckpt"):
        (tmp_path / name).touch()
    assert choose_checkpoint(tmp_path, "train").name == "states-10.ckpt"
    assert choose_checkpoint(tmp_path, "evaluate").name == "states-10.ckpt"
    (tmp_path / "dev-best.ckpt").touch()
    assert choose_checkpoint(tmp_path, "train").name == "states-10.ckpt"
    assert choose_checkpoint(tmp_path, "evaluate").name == "dev-best.ckpt"
    assert choose_checkpoint(tmp_path, "inference").name == "dev-best.ckpt"
    assert choose_checkpoint(tmp_path / "states-9.ckpt", "evaluate").name == "states-9.ckpt"
    for path in tmp_path.glob("states-*"):
        path.unlink()
    assert choose_checkpoint(tmp_path, "train").name == "dev-best.ckpt"
    (tmp_path / "dev-best.ckpt").unlink()
    with pytest.raises(UserError, match=r"expected states-\*\.ckpt or dev-best\.ckpt, found neither"):
        choose_checkpoint(tmp_path, "train")


def test_only_a_run_s_own_files_are_its(tmp_path):
    own = ["states-1.ckpt", "dev-best.ckpt", "dev_scores.csv", "test_metrics.json", "test_predict.txt", "dev_truth.txt"]
    others = ["states-last.ckpt", "model.ckpt", "my_scores.csv", "x_metrics.json", "notes.txt", "datamap.csv"]
    for name in own + others:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder(tmp_path).refuse_run()
    RunFolder(tmp_path).clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    RunFolder(tmp_path).refuse_run()
    assert RunFolder(tmp_path).checkpoints() == []
    assert not RunFolder(tmp_path).holds_run()


RECORDED = (
    *("dynamics/epoch-0000.npz", "datamap.csv", "datamap.png", "class_similarity.csv"),
    "suspects.csv",
)


def make_recording(folder):
    (folder / "dynamics").mkdir()
    for name in (*RECORDED, "dynamics/notes.txt", "maps.csv"):
        (folder / name).touch()


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_new_run_has_nothing_of_what_an_overwritten_one_has_recorded(tmp_path):
    make_recording(tmp_path)
    RunFolder(tmp_path).clear(spare_recording=True)
    assert names(tmp_path) == {*RECORDED, "dynamics/notes.txt", "maps.csv"}
    RunFolder(tmp_path).clear()
    assert names(tmp_path) == {"dynamics/notes.txt", "maps.csv"}
    (tmp_path / "datamap.csv").touch()
    RunFolder(tmp_path).clear()
    assert (tmp_path / "datamap.csv").is_file(), "made elsewhere, and put there by its user"


def test_the_class_similarity_of_version_0_1_0_is_read_and_deleted_under_its_old_name(tmp_path):
    assert RunFolder(tmp_path).class_similarity.name == "class_similarity.csv"
    old = tmp_path / "likeness.csv"
    old.touch()
    assert RunFolder(tmp_path).class_similarity == old
    (tmp_path / "class_similarity.csv").touch()
    assert RunFolder(tmp_path).class_similarity.name == "class_similarity.csv"
    make_recording(tmp_path)
    RunFolder(tmp_path).clear()
    assert names(tmp_path) == {"dynamics/notes.txt", "maps.csv"}


def test_recorded_epochs_are_not_written_over_unless_asked(tmp_path):
    make_recording(tmp_path)
    with pytest.raises(UserError, match=r"already holds a run \(dynamics/\)"):
        RunFolder(tmp_path).refuse_run()
    RunFolder(tmp_path).refuse_run(resumes=True)


def test_a_run_that_was_stopped_while_it_kept_its_first_checkpoint_begins_anew(tmp_path):
    """Its first evaluation has left scores by then, and a disk may be full, or the machine taken away, just there."""
    for name in ("dev_scores.csv", "dev_metrics.json", "dev_predict.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="Resume it by -a"):
        RunFolder(tmp_path).refuse_run()
    RunFolder(tmp_path).refuse_run(resumes=True)
    # A complete run whose checkpoints were deleted is not begun anew without being asked to.
    (tmp_path / "report.html").touch()
    with pytest.raises(UserError, match=r"already holds a run .*Replace it by --overwrite or choose"):
        RunFolder(tmp_path).refuse_run(resumes=True)
    (tmp_path / "report.html").unlink()
    (tmp_path / "test_scores.csv").touch()
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder(tmp_path).refuse_run(resumes=True)


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path):
    with RunFolder(tmp_path / "empty").held():
        assert (tmp_path / "empty").is_dir()
    assert not (tmp_path / "empty").exists()
    with RunFolder(tmp_path / "used").held():
        (tmp_path / "used/something").touch()
    assert (tmp_path / "used/something").is_file()


def test_a_second_one_is_kept_out_until_the_first_is_done(tmp_path):
    with RunFolder(tmp_path / "run").held():
        with (
            pytest.raises(UserError, match="another process is training or writing there"),
            RunFolder(tmp_path / "run").held(),
        ):
            pass
        (tmp_path / "run/something").touch()
    with RunFolder(tmp_path / "run").held():
        pass
