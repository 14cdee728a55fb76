"""The flags of run_downstream.py and ``lid-mapmix run``: all flags of S3PRL, and nine of lid_mapmix.

Nothing here imports torch.
"""

import argparse

from ...utils.command_line import CommandParser, number_from

TASK = "lid_mapmix"
# Flags that S3PRL does not have; all others are passed to its runner.
OWN_FLAGS = (
    *("data", "frozen", "cache_features", "cache_limit", "overwrite", "debug", "upstream_from"),
    *("new_classes", "known_only"),
)
_DEFAULT_VARIANT = "mapmix"
_RESULTS = "result/downstream"
# NumPy's global generator, which some upstreams use, takes seeds of 32 bits.
SEED_LIMIT = 2**32

_EXAMPLES = """\
examples:
  train Map-Mix on filter banks (the data map first):
    python run_downstream.py -d lid_mapmix -u fbank --data data/demo
  fine-tune XLSR-53, with a name and other settings:
    python run_downstream.py -d lid_mapmix -u xlsr_53 --data DATA -n xlsr \\
        -o "config.downstream_expert.epochs=20,,config.optimizer.lr=2e-5"
  freeze the upstream and learn a weighted sum of its layers, as in SUPERB, with features cached on disk for all runs:
    python run_downstream.py -d lid_mapmix -u hubert --data DATA --frozen --cache-features cache/hubert
  resume after an interruption; score a split; identify one recording:
    python run_downstream.py -d lid_mapmix -u xlsr_53 --data DATA -n xlsr -a
    python run_downstream.py -m evaluate -t test -e result/downstream/xlsr
    python run_downstream.py -m inference -t FILE.wav -e result/downstream/xlsr
  train on four GPUs, with the batches of one GPU:
    torchrun --nproc-per-node 4 run_downstream.py -d lid_mapmix -u xlsr_53 --data DATA -n xlsr

Other tasks of S3PRL (-d NAME) run with S3PRL's own command, patched for current versions of torch.
"""


def make_parser(program: str) -> CommandParser:
    """Return the parser of run_downstream.py, shown in errors and help as `program`."""
    parser = CommandParser(
        program, description="Train, evaluate or use a dialect identifier on an upstream of S3PRL.", epilog=_EXAMPLES
    )
    add = parser.add_argument_group("task, data and settings").add_argument
    add("-m", "--mode", choices=["train", "evaluate", "inference"], default="train", help="default: train")
    add("-d", "--downstream", default=TASK, help=f"task; default: {TASK}")
    variant = f"training variant, a file of config/variants/; default: {_DEFAULT_VARIANT}"
    add("-v", "--downstream_variant", metavar="VARIANT", help=variant)
    add("--data", metavar="DIR", help="folder with train.csv, dev.csv, test.csv (and labels.yaml)")
    split = "split for -m evaluate, or audio file for -m inference; default: test"
    add("-t", "--evaluate_split", default="test", metavar="SPLIT", help=split)
    add("--known-only", action="store_true", help="with -m evaluate: omit classes that the trained run does not know")
    add("-c", "--config", metavar="YAML", help="settings file; overrides variant and upstream")
    override = "settings that override all others: config.optimizer.lr=1e-4"
    add("-o", "--override", metavar="KEY=VALUE,,...", help=override)
    add("--seed", type=int, default=1337, help="seed of all random draws; default: 1337, as in S3PRL")

    add = parser.add_argument_group("upstream").add_argument
    upstream = "an upstream: fbank, hubert, xlsr_53, mms_1b, … (lid-mapmix upstreams)"
    add("-u", "--upstream", metavar="NAME", help=upstream)
    add("-k", "--upstream_ckpt", metavar="PATH", help="weights, for upstreams named *_local, *_url or hf_auto")
    add("--upstream-from", metavar="FILE.py", help="Python file whose functions are further upstreams; it is run")
    add("-g", "--upstream_model_config", metavar="PATH", help="model configuration, if the upstream needs one")
    add("-r", "--upstream_refresh", action="store_true", help="download weights again")
    add("-f", "--upstream_trainable", action="store_true", default=None, help="fine-tune the upstream")
    add("--frozen", action="store_true", help="freeze the upstream and learn a weighted sum of its layers (SUPERB)")
    add("--cache-features", type=_folder, metavar="DIR", help="cache the features of a frozen upstream on disk")
    add("--cache-limit", type=number_from(0), metavar="GB", help="maximum size of the cache; default: 100")
    add("-s", "--upstream_feature_selection", metavar="KEY", help="hidden_states, last_hidden_state, …")
    add("-l", "--upstream_layer_selection", type=int, metavar="LAYER", help="one of the hidden states")
    add("--upstream_feature_normalize", action="store_true", help="layer norm before the weighted sum")
    add("--hub", default="torch", choices=["torch", "huggingface"], help="where the upstream comes from")
    add("--upstream_model_name", default="model.pt", help="file in a Hugging Face repository")
    add("--upstream_revision", help="revision of a Hugging Face repository")

    add = parser.add_argument_group("folder of the run, and checkpoint to start from").add_argument
    add("-n", "--expname", help="name of the run: folder result/downstream/EXPNAME; default: task-variant-upstream")
    add("-p", "--expdir", help="folder of the run; overrides -n")
    add("-a", "--auto_resume", action="store_true", help="resume the run in that folder, or start it")
    add("-e", "--past_exp", metavar="RUN|CKPT", help="trained run, or checkpoint, to resume, evaluate or use")
    add("-i", "--init_ckpt", metavar="CKPT", help="initialise weights, optimizer and step, but not the settings")
    add("--new-classes", action="store_true", help="train on other classes from the weights of -i RUN|CKPT")
    add("--overwrite", action="store_true", help="replace an existing run")
    add("--push_to_hf_hub", default=False, help="upload the run (needs huggingface_hub < 1.0)")
    add("--hf_hub_org", help="organisation to upload to")

    add = parser.add_argument_group("machine").add_argument
    add("--device", help="cuda, cuda:1 or cpu; default: cuda if available")
    add("--backend", help="backend of torch.distributed; default: nccl on GPUs, gloo on CPUs")
    # torch.distributed.launch passes it with a dash.
    add("--local_rank", "--local-rank", type=int, help="GPU of this process; torchrun sets it in the environment")
    add("--cache_dir", help="folder of torch.hub downloads")
    add("--disable_cudnn", action="store_true", help="disable cuDNN")
    add("--verbose", action="store_true", help="print model information")
    return parser


def _folder(text: str) -> str:
    # An unset shell variable; the path would be the working directory.
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found ''")
    return text


def place_run(options: argparse.Namespace) -> None:
    """Set the folder of the run from -n, as S3PRL does; -p overrides it."""
    if options.expdir is None and options.expname is not None:
        options.expdir = f"{_RESULTS}/{options.expname}"


def find_conflict(options: argparse.Namespace) -> str | None:
    """Return what contradicts in the flags or is missing, as the text of an error; None if nothing does."""
    is_new = options.past_exp is None
    starts = options.new_classes and options.mode == "train" and is_new and options.init_ckpt is not None
    faults = (
        (options.frozen and options.upstream_trainable, "--frozen and -f exclude each other"),
        (options.auto_resume and options.overwrite, "resume and overwrite (-a and --overwrite) exclude each other"),
        (
            not 0 <= options.seed < SEED_LIMIT,
            f"seed: expected a whole number from 0 to {SEED_LIMIT - 1}, found {options.seed}",
        ),
        (options.new_classes and not starts, "--new-classes: expected -m train and -i RUN, without -e"),
        (options.known_only and (is_new or options.mode != "evaluate"), "--known-only: expected -m evaluate -e RUN"),
        (options.upstream is None and is_new and not starts, "expected an upstream (-u) or a trained run (-e)"),
        (
            options.mode != "train" and is_new and options.init_ckpt is None,
            f"-m {options.mode}: expected a trained run (-e)",
        ),
    )
    return next((text for is_fault, text in faults if is_fault), None)


def complete_defaults(options: argparse.Namespace) -> None:
    """Set the variant, for this task, and the folder of a new run, if the flags do not."""
    if options.downstream == TASK:
        options.downstream_variant = options.downstream_variant or _DEFAULT_VARIANT
    if options.expdir is None:
        parts = (options.downstream, options.downstream_variant, options.upstream)
        options.expdir = f"{_RESULTS}/{'-'.join(filter(None, parts))}"
