"""The command line of run_downstream.py: every flag of S3PRL's, and six of ours.

Used by ``python run_downstream.py --help`` and ``lid-mapmix run --help``; nothing here imports torch.
"""

import argparse

TASK = "lid_mapmix"
# Flags that S3PRL does not have; everything else goes to its runner.
OWN_FLAGS = ("data", "frozen", "cache_features", "cache_limit", "overwrite", "debug")
_DEFAULT_VARIANT = "mapmix"
_RESULTS = "result/downstream"
# NumPy's global generator, which some upstreams draw from, takes 32 bits.
SEED_LIMIT = 2**32

_EXAMPLES = """\
examples:
  Map-Mix on filter banks, data map first:
    python run_downstream.py -d lid_mapmix -u fbank --data data/demo
  fine-tune XLSR-53, another name, other settings:
    python run_downstream.py -d lid_mapmix -u xlsr_53 --data DATA -n xlsr \\
        -o "config.downstream_expert.epochs=20,,config.optimizer.lr=2e-5"
  frozen upstream, weighted sum of its layers, as in SUPERB:
    python run_downstream.py -d lid_mapmix -u hubert --data DATA --frozen
  the same, and run the upstream on each crop only once, in this run and all others:
    python run_downstream.py -d lid_mapmix -u hubert --data DATA --frozen --cache-features cache/hubert
  go on after an interruption; score a split; identify one recording:
    python run_downstream.py -d lid_mapmix -u xlsr_53 --data DATA -n xlsr -a
    python run_downstream.py -m evaluate -t test -e result/downstream/xlsr
    python run_downstream.py -m inference -t FILE.wav -e result/downstream/xlsr
  train on four GPUs, with the same batches as on one:
    torchrun --nproc-per-node 4 run_downstream.py -d lid_mapmix -u xlsr_53 --data DATA -n xlsr

Another task of S3PRL's (-d NAME) is handed to S3PRL's own command, mended for today's torch.
"""


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of run_downstream.py, shown in errors and help as `program`."""
    parser = argparse.ArgumentParser(
        program,
        description="Train, evaluate or use a dialect identifier on an upstream of S3PRL's.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_what(parser.add_argument_group("what to do"))
    _add_upstream(parser.add_argument_group("upstream"))
    _add_where(parser.add_argument_group("where to keep the run, and what to start from"))
    _add_machine(parser.add_argument_group("machine"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-m", "--mode", choices=["train", "evaluate", "inference"], default="train", help="default: train")
    add("-d", "--downstream", default=TASK, help=f"the task; default: {TASK}")
    add(
        "-v",
        "--downstream_variant",
        metavar="VARIANT",
        help=f"row of the paper, a file of variants/; default: {_DEFAULT_VARIANT}",
    )
    add("--data", metavar="DIR", help="folder of train.csv, dev.csv, test.csv (and labels.yaml)")
    add("-t", "--evaluate_split", default="test", metavar="SPLIT", help="split to evaluate, or audio file to identify")
    add("-c", "--config", metavar="YAML", help="settings of your own, over those of the variant and the upstream")
    add(
        "-o", "--override", metavar="KEY=VALUE,,...", help="settings above all others, such as config.optimizer.lr=1e-4"
    )
    add("--seed", type=int, default=1337, help="of every random draw; default: 1337")


def _add_upstream(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-u", "--upstream", metavar="NAME", help="fbank, wav2vec2, hubert, xlsr_53, … any of S3PRL's")
    add("-k", "--upstream_ckpt", metavar="PATH", help="weights, for upstreams that end in _local, _url or _custom")
    add("-g", "--upstream_model_config", metavar="PATH", help="model configuration, where the upstream needs one")
    add("-r", "--upstream_refresh", action="store_true", help="download weights again")
    add("-f", "--upstream_trainable", action="store_true", default=None, help="fine-tune the upstream")
    add("--frozen", action="store_true", help="keep the upstream as it is, weighted sum of its layers (SUPERB)")
    add(
        "--cache-features",
        type=_folder,
        metavar="DIR",
        help="keep a frozen upstream's features on disk and run it only once",
    )
    add("--cache-limit", type=_size, metavar="GB", help="most disk that they may take; default: 100")
    add("-s", "--upstream_feature_selection", metavar="KEY", help="hidden_states, last_hidden_state, …")
    add("-l", "--upstream_layer_selection", type=int, metavar="LAYER", help="one of the hidden states")
    add("--upstream_feature_normalize", action="store_true", help="layer norm before the weighted sum")
    add("--hub", default="torch", choices=["torch", "huggingface"], help="where the upstream comes from")
    add("--upstream_model_name", default="model.pt", help="file in a Hugging Face repository")
    add("--upstream_revision", help="revision of a Hugging Face repository")


def _folder(text: str) -> str:
    # As where a variable of the shell is not set; it would be the working directory.
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found ''")
    return text


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = float("nan")
    if not 0 < size < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of gigabytes above 0, found {text!r}")
    return size


def _add_where(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-n", "--expname", help="keep the run in result/downstream/EXPNAME; default: task-variant-upstream")
    add("-p", "--expdir", help="keep the run in EXPDIR")
    add("-a", "--auto_resume", action="store_true", help="go on where the run in that folder stopped")
    add("-e", "--past_exp", metavar="CKPT|DIR", help="go on from, or use, a checkpoint and its settings")
    add("-i", "--init_ckpt", metavar="CKPT", help="load weights (and optimizer and step), not the settings")
    add("--overwrite", action="store_true", help="start anew in a folder that holds a run")
    add("--push_to_hf_hub", default=False, help="upload the run (needs huggingface_hub < 1.0)")
    add("--hf_hub_org", help="organisation to upload to")


def _add_machine(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--device", help="cuda, cuda:1, cpu; default: cuda where there is one")
    add("--backend", help="of torch.distributed; default: nccl on GPUs, gloo on CPUs")
    # torch.distributed.launch has come to write it with a dash.
    add("--local_rank", "--local-rank", type=int, help="GPU of this process; torchrun says it without the flag")
    add("--cache_dir", help="folder of torch.hub downloads")
    add("--disable_cudnn", action="store_true", help="do without cuDNN")
    add("--verbose", action="store_true", help="print model information")
    add("--debug", action="store_true", help="show the traceback of an error")


def place_run(options: argparse.Namespace) -> None:
    """Turn -n into a folder, as S3PRL does; -p comes before it."""
    if options.expdir is None and options.expname is not None:
        options.expdir = f"{_RESULTS}/{options.expname}"


def complete_defaults(options: argparse.Namespace) -> None:
    """Fill in what a new run needs and the flags leave open: the variant, and a folder named after the run."""
    options.downstream_variant = options.downstream_variant or _DEFAULT_VARIANT
    if options.expdir is None:
        options.expdir = f"{_RESULTS}/{options.downstream}-{options.downstream_variant}-{options.upstream}"
