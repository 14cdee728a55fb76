"""What a run leaves of dev's latents: S3PRL's own runner, filter banks, a tiny corpus."""

import numpy as np
from helpers.launching import run, train
from lid_mapmix import Identifier
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.scoring.files.own import read_scores


def test_latents_of_dev_at_several_durations(trained, corpus):
    """The same as of its recordings, whole and cut."""
    identifier = Identifier.from_pretrained(trained, "cpu", detect_speech=False)
    novelty, seconds = identifier.trained.novelty, read_scores(trained / "dev_scores.csv").seconds
    assert len(novelty.latents) == len(seconds)
    cuts = [np.full((seconds > cut).sum(), cut) for cut in (0.5, 1, 3, 10)]
    np.testing.assert_allclose(novelty.seconds, np.concatenate([seconds, *cuts]), atol=2e-3)
    assert (novelty.distances >= -1e-6).all()
    manifest = read_manifest(corpus / "dev.csv")
    for row in range(3):  # each is there itself
        assert identifier.file(manifest.audio_path(row)).novelty * novelty.usual([seconds[row]]) < 1e-3


def test_a_run_without_test_and_without_latents(own_corpus, tmp_path):
    (own_corpus / "test.csv").unlink()
    assert train(own_corpus, tmp_path / "run") == 0
    written = tmp_path / "run" / "novelty.safetensors"
    assert written.is_file()
    none = ["-o", "config.downstream_expert.evaluation.keep_latents=0"]
    assert run("-m", "evaluate", "-t", "dev", "-e", tmp_path / "run", "--device", "cpu", *none) == 0
    assert not written.exists()
