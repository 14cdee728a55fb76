"""Named upstreams without a network: ``python run_downstream.py -d lid_mapmix -u xlsr_53``, from S3PRL's own cache."""

import json
import re
import time

import numpy as np
import pytest
import torch
from helpers.checkpoints import CONVERTED, Shape, cached, save_hubert, save_hugging_face, save_wav2vec2, save_wavlm
from helpers.forking import run_forked, run_script
from helpers.launching import ROOT, assert_same_weights, interrupt_at, overrides, run, train
from lid_mapmix.host import compat

# Name → the file S3PRL looks for, what writes its format, and the architecture.
NAMED = {
    "xlsr_53": ("xlsr_53_56k.pt", save_wav2vec2, Shape(stable=True, dropout=0.1)),
    "wav2vec2": ("wav2vec_small.pt", save_wav2vec2, Shape(dropout=0.1)),
    "hubert": ("hubert_base_ls960.pt", save_hubert, Shape(dropout=0.1)),
    "wavlm_base_plus": ("wavlm_base_plus.pt", save_wavlm, Shape(dropout=0.1)),
}
SHORT = {
    "downstream_expert.epochs": 1,
    "downstream_expert.datamap.epochs": 1,
    "downstream_expert.datamap.regions": "quantile",
    "downstream_expert.data.batch_size": 16,
}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Return a home folder whose cache holds a small random model under the name of each real one."""
    compat.apply()
    folder = tmp_path_factory.mktemp("home")
    for file, save, shape in NAMED.values():
        save(cached(folder, file), shape)
    return folder


def command(home, *flags, cwd=ROOT):
    """Run the literal command where there is nothing but `home`; proxies that lead nowhere stand for no network."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    variables = {**nowhere, "HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    arguments = (ROOT / "run_downstream.py", ["-d", "lid_mapmix", *flags], cwd)
    return run_forked(run_script, *arguments, environment=variables, timeout=200)


def scored(process, expdir):
    assert process.returncode == 0, process.stderr[-3000:]
    assert re.search(r"^test +\d\.\d{3}", process.stdout, re.MULTILINE)
    assert json.loads((expdir / "test_metrics.json").read_text())["overall"]["count"] == 12


def learnt(checkpoint, pretrained):
    """Return names of the upstream's weights that training has changed."""
    before = torch.load(pretrained, weights_only=True)
    before = before.get("model_weight") or before["model"]
    after = torch.load(checkpoint, weights_only=True)["Upstream"]
    return {name for name, value in before.items() if not torch.equal(value, after[f"model.{name}"])}


@pytest.mark.parametrize("upstream", list(NAMED))
def test_the_literal_command_trains_and_scores_a_named_upstream_without_a_network(upstream, corpus, home, tmp_path):
    # Map-Mix and its data map for the first, a plain run for the others.
    variant = [] if upstream == "xlsr_53" else ["-v", "baseline"]
    flags = ["-u", upstream, "--data", corpus, "-p", tmp_path, *variant, "-o", overrides(SHORT)]
    scored(command(home, *flags), tmp_path)
    (checkpoint,) = tmp_path.glob("states-*.ckpt")
    changed = learnt(checkpoint, cached(home, NAMED[upstream][0]))
    assert {name for name in changed if name.startswith("encoder.layers.2.fc1")}
    assert "post_extract_proj.weight" in changed
    assert not {name for name in changed if name.startswith("feature_extractor")}


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert"])
def test_a_fine_tuned_model_that_masks_and_drops_ends_the_same_after_an_interruption(
    kind, corpus, tmp_path, monkeypatch
):
    folder = save_hugging_face(
        tmp_path / "model", kind, Shape(stable=True, dropout=0.1, layerdrop=0.5), preprocessor=False
    )
    settings = {**SHORT, "downstream_expert.upstream.spec_augment": True, "runner.save_step": 1, "optimizer.lr": 1e-3}
    flags = ["-u", "hf_auto", "-k", folder, "-v", "latent_random"]
    assert train(corpus, tmp_path / "whole", *flags, settings=settings) == 0
    np.random.seed(99)  # noqa: NPY002 - what numpy's generator holds must not matter
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert train(corpus, tmp_path / "run", *flags, settings=settings) == 130
    assert train(corpus, tmp_path / "run", *flags, "-a", settings=settings) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    ours, whole = (
        torch.load(tmp_path / name / "states-2.ckpt", weights_only=True)["Upstream"] for name in ("run", "whole")
    )
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["-u", "xlsr_53"], [f"{CONVERTED}/xlsr_53_56k.pt: is not in S3PRL's cache", "save it as {cache}"]),
        (["-u", "hf_wav2vec2_custom", "-k", "owner/name"], ["-k owner/name: is neither a folder nor in the cache"]),
        (["-u", "mms_300m"], ["-k facebook/mms-300m: is neither a folder nor in the cache"]),
    ],
)
def test_without_cache_and_network_one_line_says_what_to_put_where(flags, wanted, corpus, tmp_path):
    began = time.monotonic()
    process = command(tmp_path, *flags, "--data", corpus, "-p", tmp_path / "run", "-v", "baseline")
    assert time.monotonic() - began < 60  # most of it Python's start; transformers alone would try for 23 s
    assert process.returncode == 1
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    for text in wanted:
        assert text.format(cache=cached(tmp_path, "xlsr_53_56k.pt")) in line
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("upstream", ["wav2vec2_local", "hubert_local", "wavlm_local", "data2vec_local"])
@pytest.mark.parametrize("content", [b"hello", b""])
def test_a_damaged_native_checkpoint_is_one_line(upstream, content, corpus, tmp_path, capsys):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(content)
    assert train(corpus, tmp_path / "run", "-u", upstream, "-k", weights, "-v", "baseline") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: -k {weights}: cannot be loaded as {upstream} (")
    assert error.endswith("Use a complete checkpoint of that kind.")
    assert not (tmp_path / "run" / "log.log").exists()


def test_weights_that_hold_nan_are_named_before_a_run_is_begun(corpus, tmp_path, capsys):
    # It had been "the training has diverged. Lower the learning rate", at step 1.
    weights = save_wav2vec2(tmp_path / "weights.pt")
    states = torch.load(weights, weights_only=True)
    states["model_weight"]["encoder.layers.1.fc1.bias"][3] = float("nan")
    torch.save(states, weights)
    assert train(corpus, tmp_path / "run", "-u", "wav2vec2_local", "-k", weights, "-v", "baseline") == 1
    assert (
        "expected finite weights, found NaN or infinity in 1 of them (model.encoder.layers.1.fc1.bias, …)"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run" / "log.log").exists()


@pytest.mark.parametrize("features", ["hidden_states", "last_hidden_state"])
def test_a_layer_beyond_the_last_is_one_line(features, corpus, tmp_path, capsys):
    weights = save_wav2vec2(tmp_path / "weights.pt")
    flags = ["-u", "wav2vec2_local", "-k", weights, "-v", "baseline", "--frozen", "-s", features, "-l", "9"]
    assert train(corpus, tmp_path / "run", *flags) == 1
    assert re.search(r"-l 9: .* has layers 0 to [03] of \w+\. Choose", capsys.readouterr().err)


def test_a_run_is_evaluated_where_its_weights_lie_elsewhere_now(corpus, tmp_path, capsys):
    weights = save_wav2vec2(tmp_path / "weights.pt")
    flags = ["-u", "wav2vec2_local", "-k", weights, "-v", "baseline", "--frozen"]
    assert train(corpus, tmp_path / "run", *flags, settings={"runner.total_steps": 1}) == 0
    moved = weights.rename(tmp_path / "moved.pt")
    evaluation = ["-m", "evaluate", "-t", "dev", "-e", tmp_path / "run", "--device", "cpu"]
    assert run(*evaluation) == 1
    assert f"in {weights}, found none. Pass their path by -k" in capsys.readouterr().err
    assert run(*evaluation, "-k", moved) == 0
