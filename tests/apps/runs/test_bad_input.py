"""Every bad input ends in one line and exit status 1 (2 for flags), and damages nothing."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers.launching import listing, run, train
from helpers.synthetic import make_corpus
from lid_mapmix.apps.runs import run as run_module

_FIRST = "audio/train/xaa-one-0.wav"


def fault_of(capsys):
    """Return the one line that says what is wrong, the last one on standard error."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert error.splitlines()[-1] == lines[0], "nothing may stand below it"
    return lines[0].removeprefix("error: ")


def no_manifest(data):
    (data / "train.csv").unlink()


def no_dev_manifest(data):
    (data / "dev.csv").unlink()


def no_column(data):
    edit(data / "train.csv", "audiopath,class,seconds", "audiopath,dialect,seconds")


def no_number(data):
    edit(data / "train.csv", ",1.1,", ",long,", count=1)


def unknown_class_in_dev(data):
    edit(data / "dev.csv", ",xaa-one,", ",xaa-three,", count=1)


def unknown_class_in_test(data):
    edit(data / "test.csv", ",xaa-one,", ",xaa-three,", count=1)


def no_utterance_in_train(data):
    keep_lines(data / "train.csv", 1)


def no_utterance_in_dev(data):
    keep_lines(data / "dev.csv", 1)


def no_utterance_in_test(data):
    keep_lines(data / "test.csv", 1)


def empty_manifest(data):
    (data / "train.csv").write_bytes(b"")


def no_audio(data):
    (data / _FIRST).unlink()


def no_audio_in_test(data):
    (data / _FIRST.replace("train", "test")).unlink()


def zero_bytes(data):
    (data / _FIRST).write_bytes(b"")


def truncated_audio(data):
    content = (data / _FIRST).read_bytes()
    (data / _FIRST).write_bytes(content[: len(content) // 2])


def text_for_audio(data):
    (data / _FIRST).write_text("Hello!")


def short_audio(data):
    soundfile.write(data / _FIRST, np.zeros(399, dtype=np.float32), 16_000)
    edit(data / "train.csv", f"{_FIRST},xaa-one,1.0", f"{_FIRST},xaa-one,0.02")


def labels_without_a_class(data):
    (data / "labels.yaml").write_text("xaa: [xaa-one, xaa-two]\nybb: [ybb-one]\n")


def labels_of_another_form(data):
    (data / "labels.yaml").write_text("- xaa-one\n- xaa-two\n")


def edit(path, old, new, count=-1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def keep_lines(path, count):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (no_manifest, "train.csv: no such manifest"),
        (no_dev_manifest, "dev.csv: no such manifest"),
        (no_column, "train.csv: expected the columns audiopath,class,seconds in the header, found no class"),
        (no_number, "train.csv"),
        (unknown_class_in_dev, "dev.csv: expected the classes xaa-one, xaa-two, ybb-one, ybb-two, found xaa-three"),
        (unknown_class_in_test, "test.csv: expected the classes xaa-one, xaa-two, ybb-one, ybb-two, found xaa-three"),
        (no_utterance_in_train, "train.csv: expected utterances, found only a header"),
        (no_utterance_in_dev, "dev.csv: expected utterances, found only a header"),
        (no_utterance_in_test, "test.csv: expected utterances, found only a header"),
        (empty_manifest, "train.csv"),
        (no_audio, f"{_FIRST}: no such audio file"),
        (no_audio_in_test, "test/xaa-one-0.wav: no such audio file"),
        (zero_bytes, f"{_FIRST}: is empty (0 bytes)"),
        (truncated_audio, _FIRST),
        (text_for_audio, _FIRST),
        (short_audio, "expected an utterance of at least 400 samples at 16 kHz (25 ms), found 399"),
        (labels_without_a_class, "expected the classes xaa-one, xaa-two, ybb-one, found ybb-two"),
        (labels_of_another_form, "labels.yaml"),
    ],
)
def test_bad_data_is_found_before_training_and_spares_the_run_to_be_overwritten(
    spoil, named, own_corpus, own_run, capsys
):
    spoil(own_corpus)
    before = listing(own_run)
    assert train(own_corpus, own_run, "--overwrite") == 1
    assert named in fault_of(capsys)
    assert listing(own_run) == before


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_are_no_numbers(workers, own_corpus, tmp_path, capsys):
    samples = np.zeros(16_000, dtype=np.float32)
    samples[::100] = np.nan
    soundfile.write(own_corpus / _FIRST, samples, 16_000, subtype="FLOAT")
    settings = {"downstream_expert.data.workers": workers}
    assert train(own_corpus, tmp_path / "run", settings=settings) == 1
    assert f"{_FIRST}: expected finite samples, found NaN" in fault_of(capsys)
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_a_map_of_another_manifest(trained, own_corpus, tmp_path, capsys):
    keep_lines(own_corpus / "train.csv", 32)
    settings = {"downstream_expert.mapmix.datamap": trained / "datamap/datamap.csv"}
    assert train(own_corpus, tmp_path / "run", settings=settings) == 1
    assert "found one of another" in fault_of(capsys)
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_a_map_that_is_not_there(corpus, tmp_path, capsys):
    settings = {"downstream_expert.mapmix.datamap": tmp_path / "none.csv"}
    assert train(corpus, tmp_path / "run", settings=settings) == 1
    assert "none.csv" in fault_of(capsys)


def test_a_region_with_no_utterance(corpus, tmp_path, capsys):
    # With a learning rate of nothing every utterance stays hard.
    settings = {"downstream_expert.datamap.regions": "fixed", "optimizer.lr": 1e-30}
    assert train(corpus, tmp_path / "run", settings=settings) == 1
    fault = fault_of(capsys)
    assert "expected ambiguous utterances, found none (0 easy, 0 ambiguous, 32 hard)" in fault
    assert "quantile" in fault
    assert not list((tmp_path / "run").glob("*.ckpt"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"runer": {}}, "unknown key runer. Did you mean runner?"),
        ({"runner": {"total_step": 5}}, "unknown key runner.total_step. Did you mean total_steps?"),
        ({"downstream_expert": {"epoch": 5}}, "unknown key downstream_expert.epoch. Did you mean epochs?"),
        ({"downstream_expert": {"data": {"batchsize": 5}}}, "data.batchsize. Did you mean batch_size?"),
        ({"downstream_expert": {"epochs": 0}}, "downstream_expert.epochs is 0"),
        ({"downstream_expert": {"mapmix": {"anchors": "simple"}}}, "downstream_expert.mapmix.anchors is 'simple'"),
        ({"downstream_expert": {"data": 3}}, "data is 3; expected 'key: value' lines. See config.yaml"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr is 'fast'"),
        ({"optimizer": {"lr": -1}}, "optimizer.lr is -1"),
        ({"seed": 3}, "unknown key seed"),
        ([1, 2], "expected 'key: value' lines"),
    ],
)
def test_bad_settings(content, named, corpus, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    flags = ["-c", tmp_path / "own.yaml", "-p", tmp_path / "run", "--device", "cpu"]
    assert run("-u", "fbank", "--data", corpus, *flags) == 1
    assert named in fault_of(capsys)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_no_settings_file(corpus, tmp_path, capsys):
    assert train(corpus, tmp_path / "run", "-c", tmp_path / "none.yaml") == 1
    assert "none.yaml: no such configuration file" in fault_of(capsys)


def test_settings_that_are_no_yaml(corpus, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("runner: [1,\n")
    assert train(corpus, tmp_path / "run", "-c", tmp_path / "own.yaml") == 1
    assert "own.yaml: is not valid YAML" in fault_of(capsys)


def test_numbers_that_yaml_takes_for_texts_are_numbers(corpus, tmp_path):
    (tmp_path / "own.yaml").write_text("optimizer: {lr: 1e-4}\n")
    assert isinstance(yaml.safe_load((tmp_path / "own.yaml").read_text())["optimizer"]["lr"], str)
    assert train(corpus, tmp_path / "run", "-v", "baseline", "-c", tmp_path / "own.yaml") == 0
    assert torch.load(tmp_path / "run/dev-best.ckpt", weights_only=True)["Config"]["optimizer"]["lr"] == 1e-4


def test_a_batch_larger_than_the_data(corpus, tmp_path):
    settings = {"downstream_expert.data.batch_size": 500, "downstream_expert.data.workers": 1}
    assert train(corpus, tmp_path / "run", settings=settings) == 0
    assert (tmp_path / "run/states-2.ckpt").is_file()


def test_a_folder_that_cannot_be_written(corpus, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    for variant in ("baseline", "mapmix"):
        assert train(corpus, tmp_path / "file" / "run", "-v", variant) == 1
        assert str(tmp_path / "file") in fault_of(capsys)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["-u", "fbnak"], "unknown upstream 'fbnak': did you mean fbank"),
        (["-v", "mapmx"], "-v mapmx: expected one of"),
        (["--data", "/none"], "/none/train.csv: no such manifest"),
        (["-e", "/none/states-1.ckpt"], "/none/states-1.ckpt: no such checkpoint"),
        (["-o", "epochs=3"], "expected args.NAME=VALUE or config.KEY.KEY=VALUE"),
        (["-o", "args.sed=3"], "args.sed"),
        (["--push_to_hf_hub", "True"], "huggingface_hub < 1.0"),
    ],
)
def test_bad_flag_values(flags, named, corpus, tmp_path, capsys):
    assert train(corpus, tmp_path / "run", *flags) == 1
    assert named in fault_of(capsys)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_no_data_named(tmp_path, capsys):
    assert run("-u", "fbank", "-p", tmp_path / "run", "--device", "cpu") == 1
    assert "--data DIR" in fault_of(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(corpus, tmp_path, capsys):
    assert train(corpus, tmp_path / "run", "--device", "cuda") == 1
    assert "expected a GPU, found none" in fault_of(capsys)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], "expected an upstream (-u)"),
        (["-u", "fbank", "-m", "evaluate"], "expected a trained run (-e)"),
        (["-u", "fbank", "--frozen", "-f"], "exclude each other"),
        (["-u", "fbank", "-m", "test"], "invalid choice"),
        (["-u", "fbank", "--epochs", "3"], "unrecognized arguments"),
    ],
)
def test_wrong_flags_return_2(flags, named, capsys):
    assert run(*flags) == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no more than this", b"text"])
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_a_damaged_checkpoint(content, mode, own_run, capsys):
    (own_run / "states-6.ckpt").write_bytes(content)
    before = listing(own_run)
    assert run("-m", mode, "-e", own_run / "states-6.ckpt") == 1
    assert "states-6.ckpt: is damaged, or no checkpoint" in fault_of(capsys)
    assert listing(own_run) == before


def test_half_a_checkpoint(own_run, capsys):
    path = own_run / "states-6.ckpt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run("-p", own_run, "-a", "-u", "fbank") == 1
    assert "states-6.ckpt: is damaged, or no checkpoint" in fault_of(capsys)


def test_a_folder_without_a_checkpoint(tmp_path, capsys):
    assert run("-m", "evaluate", "-e", tmp_path) == 1
    assert f"{tmp_path}: expected states-*.ckpt or dev-best.ckpt, found neither" in fault_of(capsys)


def test_evaluating_a_split_that_is_not_there(trained, capsys):
    assert run("-m", "evaluate", "-t", "holdout", "-e", trained) == 1
    assert "holdout.csv: no such manifest" in fault_of(capsys)


def test_a_run_goes_on_only_with_its_classes(own_run, tmp_path, capsys):
    other = make_corpus(tmp_path / "other", classes=("zcc-one", "zcc-two"))
    before = listing(own_run)
    assert run("-p", own_run, "-a", "-u", "fbank", "--data", other) == 1
    assert "found zcc-one, zcc-two" in fault_of(capsys)
    assert listing(own_run) == before


@pytest.mark.parametrize("content", [None, b"", b"no audio", "short"])
def test_identifying_what_is_no_audio(content, trained, tmp_path, capsys):
    path = tmp_path / "voice.wav"
    if content == "short":
        soundfile.write(path, np.zeros(100, dtype=np.float32), 16_000)
    elif content is not None:
        path.write_bytes(content)
    assert run("-m", "inference", "-t", path, "-e", trained) == 1
    assert str(path) in fault_of(capsys)


def test_a_defect_says_where_to_look(corpus, tmp_path, monkeypatch, capsys):
    import lid_mapmix.apps.runs.procedure

    def fail(_):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(lid_mapmix.apps.runs.procedure, "train", fail)
    assert train(corpus, tmp_path / "run") == 1
    assert fault_of(capsys) == "RuntimeError: first second (--debug shows the traceback)"
    with pytest.raises(RuntimeError):
        train(corpus, tmp_path / "run", "--debug")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("-u", "fbank", "-s", "nonsense"), "-s nonsense: expected features that upstream fbank has (hidden_states"),
        (
            ("-u", "fbank", "-l", "9"),
            "-l 9: upstream fbank has layers 0 to 0 of hidden_states. Choose one, or omit -l",
        ),
        (("-u", "hf_wav2vec2_custom", "--frozen"), "upstream hf_wav2vec2_custom: expected weights, found none"),
        (("-u", "wav2vec2_local", "-k", "nowhere/weights.pt"), "-k nowhere/weights.pt: no such file or folder"),
        (("-u", "hf_hubert_custom", "-k", "."), f"-k {Path.cwd()}: expected a complete folder of save_pretrained"),
        (
            ("-u", "fbank", "-o", "config.downstream_expert.upstream.spec_augment=True"),
            "spec_augment: expected a fine-tuned upstream (-f)",
        ),
        (("-u", "fbank", "--device", "gpu"), "--device gpu: expected cuda"),
        (("-u", "fbank", "-o", "config.downstream_expert.variant=zzz"), "cannot be overridden. Use the flag"),
        (("-u", "fbank", "-o", "args.mode=evaluate"), "cannot be overridden. Use the flag"),
        (("-u", "fbank", "-o", "args.seed=abc"), "-o args.seed: expected a value such as 1337, found 'abc'"),
        (("-u", "fbank", "-o", "args.seed=-5"), "-o args.seed: expected a whole number from 0 to"),
        (("-u", "fbank", "-o", "args.device=foo"), "-o args.device: cannot be overridden. Use the flag"),
        (("-u", "fbank", "-o", "config.runner.train_dataloader=dev"), "unknown key runner.train_dataloader"),
        (("-u", "fbank", "-o", "config.runner.eval_dataloaders=dev"), "expected a list, such as [dev]"),
        (("-u", "fbank", "-o", "config.downstream_expert.evaluation.hop_seconds=9"), "which would skip audio"),
    ],
)
def test_what_would_be_taken_otherwise_than_asked_for_is_refused(flags, says, corpus, tmp_path, capsys):
    assert run(*flags, "--data", corpus, "-p", tmp_path / "run") == 1
    assert says in fault_of(capsys)
    assert not list(tmp_path.glob("run/**/*.ckpt"))


def test_a_class_without_a_training_utterance(own_corpus, tmp_path, capsys):
    (own_corpus / "labels.yaml").write_text("xaa: [xaa-one, xaa-two, xaa-never]\nybb: [ybb-one, ybb-two]\n")
    assert train(own_corpus, tmp_path / "run", "-v", "baseline") == 1
    assert "expected training utterances of every class, found none of xaa-never" in fault_of(capsys)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"class_similarity": "lre17"}, "class_similarity lre17: expected the classes of LRE17 ("),
        ({"class_similarity": "given"}, "expected mapmix.class_similarity_file, found none"),
        (
            {"class_similarity": "given", "class_similarity_file": "none.csv"},
            "none.csv: expected the class similarity, found no such file",
        ),
        (
            {"class_similarity": "given", "class_similarity_file": "other.csv"},
            "other.csv: expected columns for exactly the classes",
        ),
    ],
)
def test_a_fault_of_the_class_similarity_is_found_before_the_data_map_is_trained(
    settings, says, corpus, tmp_path, monkeypatch, capsys
):
    def load(*_):
        raise AssertionError("the upstream was loaded")

    monkeypatch.setattr(run_module, "make_runner", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("class,a,b\na,1,0\nb,0,1\n")
    given = {f"downstream_expert.mapmix.{name}": value for name, value in settings.items()}
    assert train(corpus, tmp_path / "run", settings=given) == 1
    assert says in fault_of(capsys)
    assert not (tmp_path / "run").exists()


def test_a_missing_manifest_is_found_before_the_upstream_is_loaded(own_corpus, tmp_path, monkeypatch, capsys):
    def load(*_):
        raise AssertionError("the upstream was loaded")

    monkeypatch.setattr(run_module, "make_runner", load)
    (own_corpus / "dev.csv").unlink()
    assert train(own_corpus, tmp_path / "run") == 1
    assert "dev.csv: no such manifest" in fault_of(capsys)


def test_a_folder_without_dev_trains_without_evaluation(own_corpus, tmp_path):
    (own_corpus / "dev.csv").unlink()
    assert train(own_corpus, tmp_path / "run", "-v", "baseline", settings={"runner.eval_dataloaders": []}) == 0


def test_an_empty_region_of_shares_does_not_advise_shares(tmp_path, capsys):
    few = make_corpus(tmp_path / "few", classes=("xaa-one", "xaa-two"), sizes={"train": 1, "dev": 1})
    assert train(few, tmp_path / "run", "-v", "hard") == 1
    fault = fault_of(capsys)
    assert "expected hard utterances, found none" in fault
    assert "a larger datamap.easy_fraction or datamap.hard_fraction" in fault
    assert "regions: quantile" not in fault
