"""What to do about an upstream, or weights, that S3PRL cannot load: one line for each common case.

Nothing here imports torch or reads weights, so that a wrong command stops at once.
"""

import re
from pathlib import Path

from ..utils.errors import UserError
from .registry import HUGGING_FACE

# model_type in config.json that hugging_face.py loads → how transformers' classes for it begin.
MODEL_TYPES = {
    **{"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "unispeech": "UniSpeech"},
    **{"unispeech-sat": "UniSpeechSat", "data2vec-audio": "Data2VecAudio", "sew": "SEW", "sew-d": "SEWD"},
    **{"wav2vec2-conformer": "Wav2Vec2Conformer", "wav2vec2-bert": "Wav2Vec2Bert", "whisper": "Whisper"},
}
_LOCAL, _REPOSITORY = "_local", re.compile(r"\w[\w.-]*/[\w.-]+")
_NEED_CONFIG = {
    "stft_mag": "spectrogram: {n_fft: 400, hop_length: 160, win_length: 400, window: hann, center: true, log: true}",
    "baseline_local": "kaldi: {feat_type: fbank, fbank: {num_mel_bins: 80}}, delta: {order: 0}, cmvn: {use_cmvn: true}",
}


def check_name(upstream: str) -> None:
    """Raise a UserError for a repository of the Hugging Face Hub."""
    if _REPOSITORY.fullmatch(upstream):
        raise UserError(
            f"-u {upstream}: expected an upstream of S3PRL, found a Hugging Face repository. Use "
            f"-u hf_auto -k {upstream}."
        )


def check_files(upstream: str, weights: str | None, config: str | None) -> None:
    """Refuse files (-k, -g) of another format than the upstream loads, by their names, and a missing -g."""
    if upstream in _NEED_CONFIG and config is None:
        raise UserError(
            f"-u {upstream}: expected its settings by -g, found none. Pass a YAML file such as {_NEED_CONFIG[upstream]}"
        )
    path = Path(weights or "")
    if weights is None or not path.exists():
        return
    folder = path if path.is_dir() else path.parent
    is_weights = path.is_dir() or path.suffix in (".safetensors", ".bin")
    if (folder / "adapter_config.json").is_file() and (path.is_dir() or path.stem == "adapter_model"):
        raise UserError(
            f"-k {weights}: expected a whole model, found an adapter of PEFT. Merge it into its model by "
            "merge_and_unload(), write that by save_pretrained(DIR), and pass -k DIR."
        )
    if upstream in HUGGING_FACE and path.is_file():
        others = "Checkpoints of S3PRL and fairseq are for -u wav2vec2_local or hubert_local"
        advice = f"Pass its folder {folder}" if is_weights else others
        raise UserError(f"-k {weights}: expected a folder of save_pretrained, found a file. {advice}.")
    is_hosted = (folder / "config.json").is_file()
    if upstream.endswith(_LOCAL) and is_weights and (path.is_dir() or is_hosted):
        found = "weights of save_pretrained" if is_hosted else "a folder"
        advice = f"Use -u hf_auto -k {folder}." if is_hosted else "Pass the file."
        raise UserError(f"-k {weights}: expected a file in S3PRL's format, found {found}. {advice}")
