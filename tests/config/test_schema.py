import copy
import functools
import re
from dataclasses import asdict, is_dataclass
from pathlib import Path

import pytest
import torch
import yaml
from lid_mapmix.config.checks import check_configuration, task_config
from lid_mapmix.config.schema import MapmixConfig, TaskConfig
from lid_mapmix.config.sources import DEFAULT_CONFIG, TASK_KEY, VARIANTS, merge, read_yaml
from lid_mapmix.config.upstreams import read_upstream
from lid_mapmix.host.optimization import check_optimization
from lid_mapmix.utils.errors import UserError

ROOT = Path(__file__).parents[2]
UPSTREAMS = sorted(path.stem for path in (ROOT / "upstream_configs").glob("*.yaml"))
ALL_VARIANTS = sorted(path.stem for path in VARIANTS.glob("*.yaml"))


# Parsing takes longer than all that the tests do with what was read.
parsed, known_upstream = functools.cache(read_yaml), functools.cache(read_upstream)


def read(path):
    """Return the content of a YAML file that a test may change."""
    return copy.deepcopy(parsed(path))


def default():
    return read(DEFAULT_CONFIG)


def changed(place, value):
    """Return the defaults with one value set, `place` being its keys joined by dots."""
    config = default()
    *sections, key = place.split(".")
    section = config
    for name in sections:
        section[name] = section.get(name) or {}  # a section may be null
        section = section[name]
    section[key] = value
    return config


def checked(config):
    """Check a configuration as a launch does."""
    check_configuration(config)
    task_config(config.get(TASK_KEY))
    check_optimization(config["optimizer"], config.get("scheduler"))


def refused(config, says):
    with pytest.raises(UserError, match=says) as caught:
        checked(config)
    assert "\n" not in str(caught.value)


def test_the_file_and_the_dataclasses_hold_the_same_keys_and_defaults():
    def as_read(value):
        return {key: as_read(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    # The enums are strings, so they compare with what YAML reads; a key on one side only makes the two differ.
    assert as_read(asdict(TaskConfig())) == default()[TASK_KEY]
    assert task_config({}) == task_config(None) == TaskConfig() == task_config(default()[TASK_KEY])


def test_the_defaults_are_the_papers():
    config = task_config(default()[TASK_KEY])
    assert default()["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-5}
    assert (config.epochs, config.data.batch_size, config.data.crop_seconds) == (50, 8, 8.0)
    assert (config.mapmix.alpha, config.mapmix.probability, config.mapmix.own_class_weight) == (0.5, 1.0, 0.75)
    assert (config.evaluation.dev_crop_seconds, config.evaluation.window_seconds) == (20.0, 6.0)
    assert (config.evaluation.hop_seconds, config.model.hidden_dim, config.datamap.epochs) == (3.0, 512, 5)
    datamap = config.datamap
    assert (datamap.easy_confidence, datamap.easy_variability) == (0.6, 0.3)
    assert (datamap.hard_confidence, datamap.hard_variability) == (0.3, 0.2)


@pytest.mark.parametrize("name", ALL_VARIANTS)
def test_every_variant_is_valid_over_the_defaults(name):
    config = merge(default(), read(VARIANTS / f"{name}.yaml"))
    check_configuration(config)
    assert task_config(config[TASK_KEY]) != TaskConfig()


@pytest.mark.parametrize("variant", ALL_VARIANTS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_every_upstream_is_valid_over_every_variant(upstream, variant):
    base = merge(default(), read(VARIANTS / f"{variant}.yaml"))
    known = copy.deepcopy(known_upstream(upstream))
    for protocol in (known.finetune, known.frozen):
        checked(merge(base, protocol.config))


@pytest.mark.parametrize(
    ("variant", "pools", "mix", "targets", "needs_datamap"),
    [
        # docs/method.md, "The rows of the paper's tables"
        ("baseline", ("all", "all", "any"), "none", "one_hot", False),
        ("static", ("all", "all", "any"), "input", "one_hot", False),
        ("latent_random", ("all", "all", "any"), "latent", "one_hot", False),
        ("latent_within", ("all", "all", "within"), "latent", "one_hot", False),
        ("latent_across", ("all", "all", "across"), "latent", "one_hot", False),
        ("datamap", ("all", "all", "any"), "none", "one_hot", False),
        ("easy", ("all", "easy", "any"), "latent", "one_hot", True),
        ("hard", ("all", "hard", "any"), "latent", "one_hot", True),
        ("amb_easy", ("ambiguous", "easy", "any"), "latent", "one_hot", True),
        ("mapmix", ("ambiguous", "easy", "any"), "latent", "confidence", True),
    ],
)
def test_the_variants_are_the_rows_of_the_table(variant, pools, mix, targets, needs_datamap):
    config = task_config(merge(default(), read(VARIANTS / f"{variant}.yaml"))[TASK_KEY])
    mapmix = config.mapmix
    assert (mapmix.anchors, mapmix.partners, mapmix.pairing) == pools
    assert (mapmix.mix, mapmix.targets) == (mix, targets)
    assert (mapmix.alpha, mapmix.probability, mapmix.lambda_per) == (0.5, 1.0, "batch")
    assert config.needs_datamap is needs_datamap
    assert config.datamap.record is (variant == "datamap")
    assert config.data.batch_size == (16 if variant == "baseline" else 8)


def test_there_is_a_variant_a_row_and_no_other():
    # The table's baseline has a row an upstream; datamap is the run behind the map; one is not in the paper.
    assert len(ALL_VARIANTS) == 10 + 1


@pytest.mark.parametrize(
    ("settings", "regions", "class_similarity"),
    [
        ({}, False, False),
        ({"partners": "easy"}, False, False),  # nothing is mixed, so nobody is drawn
        ({"partners": "easy", "mix": "latent"}, True, False),
        ({"anchors": "hard"}, True, False),
        ({"targets": "confidence"}, False, True),
        ({"targets": "confidence", "class_similarity": "uniform"}, False, False),
    ],
)
def test_what_needs_a_data_map(settings, regions, class_similarity):
    config = task_config({"mapmix": settings})
    assert (config.mapmix.needs_regions, config.mapmix.needs_class_similarity) == (regions, class_similarity)
    assert config.needs_datamap is (regions or class_similarity)


@pytest.mark.parametrize(
    ("place", "value", "number"),
    [
        ("optimizer.lr", "1e-4", 1e-4),
        ("optimizer.lr", 1, 1.0),
        ("runner.total_steps", "1e3", 1000),
        ("runner.eval_step", 50.0, 50),
        ("runner.gradient_clipping", "1", 1.0),
        ("runner.gradient_clipping", float("inf"), float("inf")),
        ("runner.max_keep", "2", 2),
        ("runner.save_step", None, None),
    ],
)
def test_numbers_that_yaml_reads_as_texts_become_numbers(place, value, number):
    config = changed(place, value)
    check_configuration(config)
    section, key = place.split(".")
    assert config[section][key] == number
    assert type(config[section][key]) is type(number)


def test_a_learning_rate_of_yaml_1_1_is_a_text_and_is_mended():
    config = merge(default(), yaml.safe_load("optimizer: {lr: 1e-4}\ndownstream_expert: {mapmix: {alpha: 5e-1}}"))
    assert config["optimizer"]["lr"] == "1e-4"
    check_configuration(config)
    assert config["optimizer"]["lr"] == 1e-4
    assert task_config(config[TASK_KEY]).mapmix.alpha == 0.5


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("optimiser", r"unknown key optimiser\. Did you mean optimizer\?"),
        ("seed", r"unknown key seed\. Known keys: runner, optimizer"),
        ("runner.total_step", r"unknown key runner\.total_step\. Did you mean total_steps\?"),
        ("runner.epochs", r"unknown key runner\.epochs\. Known keys: total_steps"),
        ("downstream_expert.epoch", r"unknown key downstream_expert\.epoch\. Did you mean epochs\?"),
        ("downstream_expert.data.batchsize", r"downstream_expert\.data\.batchsize\. Did you mean batch_size\?"),
        ("downstream_expert.mapmix.lambda", r"downstream_expert\.mapmix\.lambda\. Did you mean lambda_per\?"),
        ("downstream_expert.mapmix.zzz", r"downstream_expert\.mapmix\.zzz\. Known keys: anchors, partners"),
        ("downstream_expert.datamap.per_classes", r"Did you mean per_class\?"),
        ("downstream_expert.evaluation.window", r"downstream_expert\.evaluation\.window\."),
        ("downstream_expert.upstream.train_layer", r"upstream\.train_layer\. Did you mean train_layers\?"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(place, says):
    refused(changed(place, 1), says)


def test_an_unknown_key_of_a_section_that_is_usually_null_is_refused_with_a_suggestion():
    says = r"unknown key downstream_expert\.upstream\.adapter\.rnak\. Did you mean rank\?"
    refused(changed("downstream_expert.upstream.adapter", {"rnak": 4}), says)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("optimizer.lr", value) for value in (0, -1e-4, "fast", float("nan"), float("inf"), "1e400", True, [1])),
        *(("runner.total_steps", value) for value in (0, 1.5, "many", float("inf"), float("nan"), False)),
        ("runner.gradient_clipping", -1),
        ("runner.precision", "half"),
        *((f"runner.{key}", value) for key in ("fp16", "compile", "gradient_checkpointing") for value in (1, "maybe")),
        *(("downstream_expert.epochs", value) for value in (0, -1, 2.5, "many", None)),
        *(("downstream_expert.data.batch_size", value) for value in (0, -8)),
        *(("downstream_expert.data.crop_seconds", value) for value in (0, -8, 0.024, float("nan"), float("inf"))),
        ("downstream_expert.data.workers", -1),
        ("downstream_expert.upstream.adapter", "lora"),
        *((f"downstream_expert.upstream.adapter.{key}", 0) for key in ("rank", "alpha")),
        ("downstream_expert.upstream.adapter.rank", 1025),
        ("downstream_expert.upstream.adapter.alpha", float("nan")),
        ("downstream_expert.upstream.adapter.kind", "ia3"),
        ("downstream_expert.upstream.adapter.targets", "everything"),
        ("downstream_expert.data", None),
        ("downstream_expert.data", [1]),
        ("downstream_expert.model.encoder", "lstm"),
        ("downstream_expert.model.encoder_channels", 0),
        ("downstream_expert.mapmix.mix", "middle"),
        ("downstream_expert.mapmix.anchors", "simple"),
        *(("downstream_expert.mapmix.alpha", value) for value in (0, -1, float("nan"), float("inf"))),
        *(("downstream_expert.mapmix.probability", value) for value in (-0.1, 1.1, float("nan"))),
        *(("downstream_expert.mapmix.own_class_weight", value) for value in (0, 1.1)),
        ("downstream_expert.datamap.record", "sometimes"),
        ("downstream_expert.datamap.easy_fraction", 2),
        *((f"downstream_expert.evaluation.{key}_seconds", 0) for key in ("dev_crop", "window", "hop", "batch")),
        ("downstream_expert.evaluation.window_seconds", 0.01),
        ("downstream_expert.labels", {"a": "b"}),
        ("downstream_expert.labels", {"nordic": [False]}),
    ],
)
def test_values_out_of_their_limits_are_refused(place, value):
    refused(
        changed(place, value), re.escape(place) + r"\S* is " + re.escape("" if isinstance(value, dict) else repr(value))
    )


def test_hard_above_easy_is_refused():
    thresholds = {"hard_confidence": 0.5, "easy_confidence": 0.4}
    refused(
        changed("downstream_expert.datamap", thresholds),
        r"hard_confidence of at most easy_confidence, 0\.4, found 0\.5",
    )
    task_config({"datamap": {"hard_confidence": 0.5, "easy_confidence": 0.5}})


def test_fractions_above_one_are_refused():
    fractions = {"easy_fraction": 0.7, "hard_fraction": 0.4}
    refused(
        changed("downstream_expert.datamap", fractions), r"expected .* with a sum of at most 1, found 0\.7 and 0\.4"
    )
    task_config({"datamap": {"easy_fraction": 0.5, "hard_fraction": 0.5}})


@pytest.mark.parametrize("mapmix", [{"mix": "latent"}, {"anchors": "ambiguous"}])
def test_recording_anything_but_plain_training_is_refused(mapmix):
    with pytest.raises(UserError, match=r"datamap\.record: expected mapmix\.anchors all and mapmix\.mix none"):
        task_config({"datamap": {"record": True}, "mapmix": mapmix})
    task_config({"datamap": {"record": False}, "mapmix": mapmix})
    task_config({"datamap": {"record": True}, "mapmix": {"partners": "easy"}})


@pytest.mark.parametrize("part", ["runner", "optimizer"])
@pytest.mark.parametrize("value", [None, 3, "text"])
def test_a_missing_part_is_refused(part, value):
    refused(default() | {part: value}, f"expected a section {part}, found none")


@pytest.mark.parametrize(
    ("part", "section", "says"),
    [
        ("optimizer", {"torch_optim_name": "Foo"}, "'Foo', .* which does not work: .*no attribute 'Foo'"),
        ("optimizer", {"torch_optim_name": "lr_scheduler"}, "'lr_scheduler', .* which does not work: "),
        ("optimizer", {"torch_optim_name": "LBFGS"}, "which does not work: .*closure"),
        ("optimizer", {"name": "Foo"}, r"optimizer\.name is 'Foo'; expected one of Adam, AdamW"),
        ("optimizer", {"name": "__import__('os')"}, r"optimizer\.name is .*; expected one of"),
        ("optimizer", {"foo": 3}, r"foo: 3\}, which does not work: .*unexpected keyword argument 'foo'"),
        ("optimizer", {"betas": [0.9, 2]}, "Invalid beta parameter"),
        ("scheduler", {"name": "foo"}, r"scheduler\.name is 'foo'; expected one of .*linear_schedule_with_warmup"),
        ("scheduler", {"name": "linear_schedule_with_warmup"}, "scheduler is .*num_warmup_steps"),
        ("scheduler", 3, "scheduler is 3; expected 'key: value' lines"),
    ],
)
def test_an_optimizer_or_schedule_that_cannot_be_made_is_refused(part, section, says):
    given = section if part == "scheduler" else default()["optimizer"] | section
    refused(default() | {part: given}, says)


def test_trying_an_optimizer_draws_no_random_number():
    before = torch.get_rng_state()
    scheduler = {"name": "linear_schedule_with_warmup", "num_warmup_steps": 3}
    checked(default() | {"scheduler": scheduler})
    assert torch.equal(torch.get_rng_state(), before)


def test_an_optimizer_without_a_name_is_refused():
    refused(default() | {"optimizer": {"lr": 1.0}}, r"expected optimizer\.name, found none")


@pytest.mark.parametrize("value", [[1], "text", 3])
def test_a_task_that_is_no_mapping_is_refused(value):
    refused(default() | {TASK_KEY: value}, "downstream_expert is .*; expected 'key: value' lines")


def test_checking_a_valid_configuration_changes_nothing():
    config = default()
    before = copy.deepcopy(config)
    checked(config)
    assert config == before


def test_sections_are_not_shared_between_configurations():
    one, other = TaskConfig(), TaskConfig()
    assert is_dataclass(one.mapmix)
    assert one.mapmix is not other.mapmix
    assert isinstance(one.mapmix, MapmixConfig)


def test_features_of_mixed_input_are_not_kept():
    with pytest.raises(UserError, match=r"expected no mapmix\.mix input"):
        task_config({"cache": {"directory": "cache"}, "mapmix": {"mix": "input"}})


def test_a_data_map_is_recorded_uniformly():
    config = changed("downstream_expert.data.sampler", "balanced")
    check_configuration(config)
    config["downstream_expert"]["datamap"]["record"] = True
    refused(config, "datamap.record: expected data.sampler uniform, .* found balanced")


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("augment", {"codecs": ["gsm"]}, r"expected no data\.augment,"),
        ("augment", {"noise": "sounds"}, r"expected no data\.augment,"),
        ("on_bad_audio", "skip", r"expected no data\.on_bad_audio skip,"),
    ],
)
def test_features_are_kept_of_audio_as_it_is(setting, value, named):
    config = changed("downstream_expert.cache.directory", "kept")
    check_configuration(config)
    config["downstream_expert"]["data"][setting] = value
    refused(config, named)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("augment.noise_snr", [20, 5], r"expected the minimum first, found \[20\.0, 5\.0\]"),
        ("augment.noise_snr", [5], "noise_snr"),
        ("augment.noise_snr", [5, 10, 20], "noise_snr"),
        ("augment.speeds", [0.9, 3], "speeds"),
        ("augment.speeds", 0.9, "speeds"),
        ("augment.codecs", ["amr"], "codecs"),
        ("augment.rir_probability", 1.5, "rir_probability"),
        ("augment.noisse", "x", "Did you mean noise"),
        ("sampler", "power: 0.5", "sampler"),
        ("sampler_power", 2, "sampler_power"),
        ("max_bad_fraction", -0.1, "max_bad_fraction"),
        ("on_bad_audio", "ignore", "on_bad_audio"),
    ],
)
def test_what_cannot_be_done_to_the_data_is_refused(place, value, says):
    refused(changed(f"downstream_expert.data.{place}", value), says)


def test_speeds_need_crops_that_start_anywhere():
    config = changed("downstream_expert.data.augment.speeds", [0.9, 1.1])
    check_configuration(config)
    config["downstream_expert"]["data"]["crop_step_seconds"] = 4.0
    refused(config, r"augment\.speeds: expected crops that start anywhere, found crop_step_seconds 4\.0")


def test_a_key_that_comes_twice_is_refused(tmp_path):
    """PyYAML takes the last one without a word; keys that an anchor brings may be written over."""
    path = tmp_path / "settings.yaml"
    path.write_text("optimizer: {lr: 1}\nrunner: {}\noptimizer: {name: Adam}\n")
    with pytest.raises(UserError, match="'optimizer' occurs twice"):
        read_yaml(path)
    path.write_text("one: &one {lr: 1, name: Adam}\nother: {<<: *one, lr: 2}\n")
    assert read_yaml(path)["other"] == {"lr": 2, "name": "Adam"}
