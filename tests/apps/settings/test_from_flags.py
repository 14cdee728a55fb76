"""From the command line to S3PRL's arguments and one configuration: who has the last word, and what -o may say."""

import shutil
from pathlib import Path

import pytest
import yaml
from helpers.launching import listing
from lid_mapmix.apps.settings.arguments import complete_defaults, make_parser, place_run
from lid_mapmix.apps.settings.from_flags import new_settings, settings_from_checkpoint
from lid_mapmix.apps.settings.override import parse_override
from lid_mapmix.config import renamed
from lid_mapmix.config.schema import CacheConfig, TaskConfig
from lid_mapmix.config.sources import DEFAULT_CONFIG, read_variant, read_yaml, upstream_config_path
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import choose_checkpoint


def options_of(*flags):
    options = make_parser("run_downstream.py").parse_args([str(flag) for flag in flags])
    place_run(options)
    complete_defaults(options)
    return options


def settings_of(*flags):
    return new_settings(options_of(*flags))


# Precedence ----------------------------------------------------------------------------------------------------------


def test_each_layer_lies_over_the_one_before(tmp_path):
    default = yaml.safe_load(DEFAULT_CONFIG.read_text())
    assert default["downstream_expert"]["data"]["batch_size"] != 16
    assert settings_of("-u", "hubert", "-v", "baseline").task.data.batch_size == 16
    upstream = read_yaml(upstream_config_path("fbank"))["finetune"]["config"]
    assert default["optimizer"]["lr"] != upstream["optimizer"]["lr"]
    assert settings_of("-u", "fbank").optimizer["lr"] == upstream["optimizer"]["lr"]
    (tmp_path / "own.yaml").write_text("optimizer: {lr: 0.5}\ndownstream_expert: {data: {directory: A, batch_size: 3}}")
    own = ["-u", "fbank", "-v", "baseline", "-c", tmp_path / "own.yaml"]
    settings = settings_of(*own)
    assert settings.optimizer["lr"] == 0.5
    assert settings.task.data.batch_size == 3
    assert settings.task.data.directory == "A"
    assert settings_of(*own, "--data", "B").task.data.directory == str(Path("B").resolve())
    last = settings_of(*own, "--data", "B", "-o", "config.downstream_expert.data.directory=C,,config.optimizer.lr=2")
    assert last.task.data.directory == "C"
    assert last.optimizer["lr"] == 2
    assert list(last.sources) == [
        *("config.yaml", "variants/baseline.yaml", "upstream_configs/fbank.yaml (finetune)"),
        *(f"-c {tmp_path / 'own.yaml'}", "--data"),
        "-o config.downstream_expert.data.directory=C,,config.optimizer.lr=2",
    ]


def test_settings_of_version_0_1_0_are_accepted_under_their_old_names(tmp_path, capsys):
    renamed._new_name.cache_clear()
    (tmp_path / "own.yaml").write_text("downstream_expert: {mapmix: {likeness: uniform}, data: {most_bad_share: 0.5}}")
    path = "config.downstream_expert.mapmix.target_share=0.8"
    settings = settings_of("-u", "fbank", "-v", "mapmix", "-c", tmp_path / "own.yaml", "-o", path)
    assert settings.task.mapmix.class_similarity == "uniform"
    assert settings.task.data.max_bad_fraction == 0.5
    assert settings.task.mapmix.own_class_weight == 0.8
    # Nothing of the old names is left in the configuration that a run stores.
    stored = settings.for_s3prl("train")[1]["downstream_expert"]
    assert stored["mapmix"]["class_similarity"] == "uniform"
    assert not {"likeness", "target_share"} & stored["mapmix"].keys()
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "[lid_mapmix] downstream_expert.data.most_bad_share is deprecated; use max_bad_fraction",
        "[lid_mapmix] downstream_expert.mapmix.likeness is deprecated; use class_similarity",
        "[lid_mapmix] downstream_expert.mapmix.target_share is deprecated; use own_class_weight",
    ]


def test_a_section_without_a_line_changes_nothing(tmp_path):
    (tmp_path / "own.yaml").write_text("runner:\ndownstream_expert:\n  # epochs: 3\n")
    with_it, without = settings_of("-u", "fbank", "-c", tmp_path / "own.yaml"), settings_of("-u", "fbank")
    assert with_it.for_s3prl("train")[1] == without.for_s3prl("train")[1]


def test_the_variant_is_noted_and_applied():
    task = settings_of("-u", "fbank", "-v", "amb_easy").task
    assert task.variant == "amb_easy"
    for key, value in read_variant("amb_easy")["downstream_expert"]["mapmix"].items():
        assert getattr(task.mapmix, key) == value


@pytest.mark.parametrize(
    ("flags", "trainable", "selection", "layer"),
    [
        (["-u", "hubert"], True, "last_hidden_state", None),
        (["-u", "hubert", "--frozen"], False, "hidden_states", None),
        (["-u", "hubert", "-f", "-s", "hidden_states", "-l", "4"], True, "hidden_states", 4),
        (["-u", "hubert", "--frozen", "-s", "last_hidden_state"], False, "last_hidden_state", None),
        (["-u", "fbank"], False, "hidden_states", None),
        (["-u", "fbank", "-f"], True, "hidden_states", None),
    ],
)
def test_what_of_the_upstream_is_used(flags, trainable, selection, layer):
    args = settings_of(*flags).args
    assert args.upstream_trainable is trainable
    assert args.upstream_feature_selection == selection
    assert args.upstream_layer_selection == layer
    for name in ("data", "frozen", "overwrite", "debug"):
        assert not hasattr(args, name), "S3PRL does not know it"


def test_the_data_map_run_has_the_same_data_model_and_optimizer():
    flags = ["-u", "fbank", "-p", "runs/a", "-i", "weights.ckpt"]
    main = settings_of(*flags, "-o", "config.runner.total_steps=7,,config.downstream_expert.model.hidden_dim=9")
    stage = main.datamap_stage()
    assert str(stage.folder) == "runs/a/datamap"
    assert stage.args.downstream_variant == stage.task.variant == "datamap"
    assert stage.args.init_ckpt is None
    assert stage.runner["total_steps"] is None
    assert stage.task.datamap.record
    assert stage.task.mapmix == TaskConfig().mapmix
    assert (stage.task.data, stage.task.model) == (main.task.data, main.task.model)
    assert stage.optimizer == main.optimizer
    assert main.task.variant == "mapmix"
    assert main.runner["total_steps"] == 7


# -o ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("0.5", 0.5),
        ("True", True),
        ("true", True),
        ("None", None),
        ("null", None),
        ("AdamW", "AdamW"),
        ("'AdamW'", "AdamW"),
        ("['dev', 'test']", ["dev", "test"]),
        ("[dev, test]", ["dev", "test"]),
        ("{'a': 1}", {"a": 1}),
        ("/data/a=b.csv", "/data/a=b.csv"),
        ("", None),
        ("__import__('os').system('touch /tmp/x')", "__import__('os').system('touch /tmp/x')"),
    ],
)
def test_values_of_an_override(text, value):
    assert parse_override(f"config.optimizer.key={text}") == [(["config", "optimizer", "key"], value)]


def test_nothing_in_an_override_is_run_as_a_program(tmp_path):
    target = tmp_path / "made"
    settings = settings_of("-u", "fbank", "-o", f"config.optimizer.name=__import__('os').mkdir('{target}')")
    assert settings.optimizer["name"] == f"__import__('os').mkdir('{target}')"
    assert not target.exists()


def test_several_overrides():
    settings = settings_of("-u", "fbank", "-o", " args.seed=4 ,, config.runner.eval_dataloaders=['dev','test'] ,,")
    assert settings.args.seed == 4
    assert settings.runner["eval_dataloaders"] == ["dev", "test"]


def test_an_override_makes_the_sections_it_needs():
    assert settings_of("-u", "fbank", "-o", "config.scheduler.name=linear").sections["scheduler"] == {"name": "linear"}


@pytest.mark.parametrize("text", ["none", "None"])
def test_none_overrides_nothing(text):
    overridden, plain = settings_of("-u", "fbank", "-o", text), settings_of("-u", "fbank")
    assert overridden.for_s3prl("train")[1] == plain.for_s3prl("train")[1]


@pytest.mark.parametrize(
    "text",
    ["epochs=3", "config.optimizer.lr", "config=3", "args=3", "args.seed.a=3", "args.sed=3", "config.optimizer.lr.a=3"],
)
def test_wrong_overrides(text):
    with pytest.raises(UserError, match=r"^-o "):
        settings_of("-u", "fbank", "-o", text)


# From a checkpoint ---------------------------------------------------------------------------------------------------


def from_checkpoint(*flags):
    options = make_parser("run_downstream.py").parse_args([str(flag) for flag in flags])
    return settings_from_checkpoint(options, choose_checkpoint(Path(options.past_exp), options.mode))


def test_arguments_come_from_the_checkpoint_but_not_its_folder(trained, own_run):
    settings = from_checkpoint("-e", own_run, "--device", "cpu", "--seed", "9")
    assert settings.args.seed == 1337
    assert settings.args.upstream == "fbank"
    assert settings.args.expdir == str(own_run)
    assert settings.args.init_ckpt == str(own_run / "states-6.ckpt")
    assert settings.task.mapmix.datamap == str(own_run / "datamap/datamap.csv"), "the map moves with the run"
    assert from_checkpoint("-e", own_run, "-p", "other").args.expdir == "other"
    assert listing(own_run).keys() == listing(trained).keys()


def test_data_and_overrides_hold_over_a_checkpoint(own_run):
    settings = from_checkpoint("-e", own_run, "--data", "moved", "-o", "config.downstream_expert.epochs=5,,args.seed=2")
    assert settings.task.data.directory == str(Path("moved").resolve())
    assert settings.task.epochs == 5
    assert settings.runner["total_steps"] is None, "worked out anew from the epochs"
    assert settings.args.seed == 2


def test_a_map_given_from_elsewhere_stays_where_it_is(corpus, trained, tmp_path):
    from helpers.launching import train

    given = shutil.copytree(trained / "datamap", tmp_path / "given") / "datamap.csv"
    settings = {"downstream_expert.mapmix.datamap": given, "downstream_expert.epochs": 1}
    assert train(corpus, tmp_path / "run", settings=settings) == 0
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert from_checkpoint("-e", copy).task.mapmix.datamap == str(given)


def test_another_task_s_checkpoint_is_refused(trained):
    options = options_of("-u", "fbank", "-d", "asr")
    with pytest.raises(UserError, match="expected the task asr, found lid_mapmix"):
        settings_from_checkpoint(options, trained / "dev-best.ckpt")


@pytest.mark.parametrize(
    ("upstream", "advice"),
    [
        ("wav2vec2", "Remove -k, or use -u wav2vec2_local."),
        ("hubert_large_ll60k", "or use -u hubert_local."),
        ("xlsr_53", "Remove -k, or use an upstream named *_local."),
        ("fbank", "Remove -k, or use an upstream named *_local."),
    ],
)
def test_weights_that_s3prl_would_pass_over_are_refused(upstream, advice, tmp_path):
    # The run was trained from the published weights.
    with pytest.raises(UserError, match=f"^-k .*: the upstream {upstream} does not read weights from -k") as caught:
        settings_of("-u", upstream, "-k", tmp_path / "mine.pt")
    assert advice in str(caught.value)


def test_a_checkpoint_of_an_upstream_without_such_weights_takes_none(own_run, tmp_path):
    with pytest.raises(UserError, match="the upstream fbank does not read weights from -k"):
        from_checkpoint("-e", own_run, "-k", tmp_path / "mine.pt")


# The feature cache ---------------------------------------------------------------------------------------------------


def test_crops_lie_on_a_grid_where_their_features_are_kept(tmp_path):
    frozen = ["-u", "wav2vec2", "--frozen"]
    assert settings_of(*frozen).task.data.crop_step_seconds is None
    cached = settings_of(*frozen, "--cache-features", tmp_path / "cache", "--cache-limit", "2.5")
    assert cached.task.cache == CacheConfig(str(tmp_path / "cache"), limit_gb=2.5, evaluation=True)
    assert cached.task.data.crop_step_seconds == 4.0
    step = "config.downstream_expert.data.crop_step_seconds=1.5"
    assert settings_of(*frozen, "--cache-features", "cache", "-o", step).task.data.crop_step_seconds == 1.5
    stage = cached.datamap_stage()
    assert stage.task.cache == cached.task.cache
    assert stage.task.data.crop_step_seconds == 4.0
