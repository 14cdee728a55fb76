r"""Write a small wav2vec 2.0 with random weights, as a folder in the format of transformers' save_pretrained.

    .venv/bin/python bench/small_wav2vec2.py result/models/small_wav2vec2

It replaces downloaded weights when trying a grid: `-u hf_wav2vec2_custom -k FOLDER`. The strides of its front end are
those of the base model (20 ms per frame), with a sixteenth of the channels; a layer norm follows each convolution, as
in XLS-R. The same seed gives the same weights. A complete folder is not changed.
"""

import argparse
from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

_CONVOLUTIONS = 7


def main() -> None:
    """Write the folder that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=96, help="width of the layers; default: 96")
    parser.add_argument("--layers", type=int, default=2, help="number of layers; default: 2")
    parser.add_argument("--channels", type=int, default=32, help="channels of the convolutions; default: 32")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights; default: 0")
    options = parser.parse_args()
    # This file is written last.
    if (options.folder / "preprocessor_config.json").exists():
        print(f"{options.folder}: exists already, and is not changed")
        return
    config = Wav2Vec2Config(
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        conv_dim=(options.channels,) * _CONVOLUTIONS,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        layerdrop=0.0,
        apply_spec_augment=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = Wav2Vec2Model(config)
    model.save_pretrained(options.folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(options.folder)
    print(f"{options.folder}: {sum(each.numel() for each in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
