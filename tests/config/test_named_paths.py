"""Paths that a checkpoint names: those in its folder and those of its training are used, others only by the user."""

from argparse import Namespace
from dataclasses import replace

import pytest
from lid_mapmix.config.named_paths import OPENED, check_named_paths, digests, is_of_run
from lid_mapmix.config.schema import AugmentConfig, CacheConfig, DataConfig, TaskConfig
from lid_mapmix.utils.errors import UserError

EVERY = OPENED["train"]


def check(checkpoint, args=None, task=None, names=EVERY, given=()):
    check_named_paths(args or Namespace(), task or TaskConfig(), checkpoint, names, given)


@pytest.mark.parametrize(
    "named",
    [
        "https://example.org/x.pt",
        "http://example.org/x",
        "ftp://example.org/x",
        "hf://owner/name",
        "owner/name",
        "0Abc-drive-id",
        "",
        3,
        "x\0y",
        "x" * 5000,
    ],
    ids=str,
)
def test_an_address_in_a_checkpoint_is_not_followed(named, tmp_path):
    with pytest.raises(UserError, match="-k"):
        check(tmp_path / "run" / "dev-best.ckpt", Namespace(upstream_ckpt=named))


def test_a_path_in_a_checkpoint_is_followed_within_its_folder_or_with_its_digest(tmp_path):
    run, outside = tmp_path / "run", tmp_path / "weights.pt"
    run.mkdir()
    outside.write_bytes(b"weights")
    inside = run / "weights.pt"
    inside.write_bytes(b"weights")
    checkpoint = run / "dev-best.ckpt"
    check(checkpoint, Namespace(upstream_ckpt=str(inside)))
    args = Namespace(upstream_ckpt=str(outside))
    with pytest.raises(UserError, match="-k"):
        check(checkpoint, args)
    args.file_digests = digests(args, TaskConfig())
    check(checkpoint, args)
    outside.write_bytes(b"others")
    with pytest.raises(UserError, match="not the one of its training"):
        check(checkpoint, args)
    check(checkpoint, args, given=["upstream_ckpt"])
    inside.unlink()
    inside.symlink_to(outside)
    with pytest.raises(UserError, match="-k"):
        check(checkpoint, Namespace(upstream_ckpt=str(inside)))
    with pytest.raises(UserError, match="-g"):
        check(checkpoint, Namespace(upstream_ckpt=None, upstream_model_config=str(outside)))


@pytest.fixture
def outside(tmp_path):
    """Return settings whose paths are all outside the folder of the run, and exist."""
    data, noise = tmp_path / "data", tmp_path / "noise"
    data.mkdir()
    noise.mkdir()
    (data / "train.csv").write_text("audiopath,class\n")
    (noise / "one.wav").write_bytes(b"RIFF")
    augment = AugmentConfig(noise=str(noise), rir=str(noise))
    return TaskConfig(data=DataConfig(directory=str(data), augment=augment))


@pytest.mark.parametrize(
    ("name", "flag", "change"),
    [("data", "--data '", "data/train.csv"), ("noise", "data.augment.noise='", "noise/two.wav")],
)
def test_folders_are_read_again_if_they_are_those_of_the_training(name, flag, change, outside, tmp_path):
    checkpoint = tmp_path / "run" / "dev-best.ckpt"
    with pytest.raises(UserError, match=f"expected {name} in its folder .* name it again by .*{flag}"):
        check(checkpoint, task=outside, names=[name])
    args = Namespace(file_digests=digests(Namespace(), outside))
    check(checkpoint, args, outside)
    (tmp_path / "data" / "test2.csv").write_text("")  # another split may be added
    check(checkpoint, args, outside)
    (tmp_path / change).write_text("other")
    with pytest.raises(UserError, match="not the one of its training"):
        check(checkpoint, args, outside)
    check(checkpoint, args, outside, given=[name, "rir"])


def test_only_paths_that_a_mode_opens_are_checked(outside, tmp_path):
    check(tmp_path / "run" / "x.ckpt", task=outside, names=OPENED["inference"])
    with pytest.raises(UserError, match="expected data"):
        check(tmp_path / "run" / "x.ckpt", task=outside, names=OPENED["evaluate"])


def test_a_cache_is_filled_only_where_the_user_says(tmp_path):
    """Resuming a run of others would have written gigabytes into any folder that its checkpoint names."""
    task = replace(TaskConfig(), cache=CacheConfig(directory=str(tmp_path / "cache")))
    with pytest.raises(UserError, match="name it again by --cache-features"):
        check(tmp_path / "run" / "x.ckpt", task=task)
    check(tmp_path / "run" / "x.ckpt", task=task, given=["cache"])
    inside = replace(task, cache=CacheConfig(directory=str(tmp_path / "run" / "cache")))
    check(tmp_path / "run" / "x.ckpt", task=inside)


def test_what_is_missing_is_explained_by_the_command_that_needs_it(tmp_path):
    task = TaskConfig(data=DataConfig(directory=str(tmp_path / "nothing")))
    check(tmp_path / "run" / "x.ckpt", task=task)
    assert not is_of_run("data", str(tmp_path / "nothing"), {}, tmp_path / "run")
