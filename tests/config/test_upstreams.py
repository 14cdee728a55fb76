"""The files of upstreams: complete, of S3PRL's names, and how batches are fitted to a card."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.config import sources as layers
from lid_mapmix.config.sources import upstream_config_names
from lid_mapmix.config.upstreams import largest_batch, read_upstream, split_batch
from lid_mapmix.host.registry import HUGGING_FACE, upstream_names
from lid_mapmix.utils.errors import UserError

WANTED = {
    *("wav2vec2", "wav2vec2_large_ll60k", "hubert", "hubert_large_ll60k", "xlsr_53", "xls_r_300m", "xls_r_1b"),
    *("xls_r_2b", "mhubert_base_vp_en_es_fr_it3", "wavlm_base", "wavlm_base_plus", "wavlm_large", "data2vec_base_960"),
    *("unispeech_sat_large", "fbank", "mfcc", *HUGGING_FACE),
}


def test_there_is_a_file_for_each_and_each_is_an_upstream_of_s3prl():
    assert set(upstream_config_names()) == WANTED
    assert set(upstream_names()) >= WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_each_file_says_everything(name):
    known = read_upstream(name)
    assert known.about
    assert known.licence
    # The only ones without a name on the Hub: no weights, weights by -k, or not published there by its authors.
    has_name = known.parameters and name != "mhubert_base_vp_en_es_fr_it3"
    assert known.base_model == HUGGING_FACE[name] if name in HUGGING_FACE else bool(known.base_model) is bool(has_name)
    assert name.startswith("hf_") or known.parameters is not None
    assert name.startswith("hf_") or known.languages or known.parameters == 0
    assert "arXiv" in known.source or "trials on the demo corpus" in known.source
    for protocol in (known.finetune, known.frozen):
        assert protocol.config["optimizer"]["lr"] > 0
        assert isinstance(protocol.config["downstream_expert"]["evaluation"]["mix_lengths"], bool)
        small, large = protocol.batch_sizes
        assert (small, large) == ((40, 80) if name == "xls_r_2b" and protocol is known.finetune else (24, 80))
        assert protocol.batch_sizes[small] <= protocol.batch_sizes[large]
        assert bool(protocol.batch_sizes_by_millions) is name.startswith("hf_")
    has_weights = name not in ("fbank", "mfcc")
    assert known.finetune.arguments.upstream_trainable is has_weights
    assert (
        known.finetune.arguments.upstream_feature_selection == "last_hidden_state" if has_weights else "hidden_states"
    )
    assert not known.frozen.arguments.upstream_trainable
    assert known.frozen.arguments.upstream_feature_selection == "hidden_states"


def test_an_upstream_without_a_file_has_the_stated_defaults():
    known = read_upstream("tera")
    assert known.finetune.arguments.upstream_trainable
    assert known.finetune.arguments.upstream_feature_selection == "last_hidden_state"
    assert known.frozen.arguments.upstream_feature_selection == "hidden_states"
    assert known.finetune.batch_sizes == {}
    assert [use.config["optimizer"]["lr"] for use in (known.finetune, known.frozen)] == [1e-5, 1e-4]


def test_an_unknown_key_in_a_file_is_one_line(tmp_path, monkeypatch):
    text = (layers._UPSTREAM_CONFIGS[1] / "hubert.yaml").read_text()
    (tmp_path / "hubert.yaml").write_text(text.replace("batch_sizes", "batchsizes"))
    monkeypatch.setattr(layers, "_UPSTREAM_CONFIGS", (tmp_path,))
    with pytest.raises(UserError, match=r"hubert.yaml: .*batchsizes") as caught:
        read_upstream("hubert")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gigabytes", "crop", "waveforms", "expected"),
    [
        (23.6, 8.0, 2, 6),  # a card of 24 GB says that it has 23.6
        (79.2, 8.0, 2, 20),
        (139.8, 8.0, 2, 35),
        (39.4, 8.0, 2, 10),
        (11.8, 8.0, 2, 3),
        (23.6, 4.0, 2, 12),
        (23.6, 8.0, 1, 12),
        (1.0, 30.0, 2, 1),
    ],
)
def test_largest_batch_by_hand(gigabytes, crop, waveforms, expected):
    assert largest_batch({24: 6, 80: 20}, gigabytes, crop, waveforms) == expected


def test_nothing_is_known_without_figures():
    assert largest_batch({}, 24.0, 8.0, 2) is None


@given(batch_size=st.integers(1, 500), most=st.integers(1, 500))
def test_a_divided_batch_fits_and_is_not_smaller(batch_size, most):
    size, parts = split_batch(batch_size, most)
    assert size <= most
    assert size * parts >= batch_size > (size - 1) * parts
