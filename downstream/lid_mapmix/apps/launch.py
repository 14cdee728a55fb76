"""``python run_downstream.py``: the whole of Map-Mix in one command, through S3PRL's own runner.

A variant that needs a data map first trains one into EXPDIR/datamap, then itself, from the pretrained upstream; after
training, the best checkpoint is scored on the test split.
"""

import argparse
import gc
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import UserError
from .arguments import TASK, complete_defaults, make_parser

_REQUEST_NAME = "request.json"


def main(arguments: Sequence[str] | None = None, program: str = "run_downstream.py") -> int:
    """Run the command line and return its exit status: 0, 1 for a fault, 2 for wrong flags."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = make_parser(program)
    options = parser.parse_args(arguments)
    if options.frozen and options.upstream_trainable:
        parser.error("--frozen and -f exclude each other")
    if options.upstream is None and options.past_exp is None:
        parser.error("name an upstream by -u, or a trained run by -e")
    if options.mode != "train" and options.past_exp is None and options.init_ckpt is None:
        parser.error(f"-m {options.mode} needs a trained run: name it by -e")
    return guarded(lambda: _run(options, arguments), debug=options.debug)


def guarded(work: Any, *, debug: bool) -> int:
    """Do `work`, turn what goes wrong into one line on standard error, and return the exit status."""
    try:
        work()
    except KeyboardInterrupt:
        print("interrupted; -a goes on from the last checkpoint", file=sys.stderr)
        return 130
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if debug:
            raise
        reason = error.strerror or str(error)
        print(f"error: {error.filename or 'file'}: {reason}. Check the path, its rights and the disk.", file=sys.stderr)
        return 1
    # Whatever else is a defect, here or in the host, and still no reason to bury the user under a traceback.
    except Exception as error:
        if debug:
            raise
        message = " ".join(str(error).split())
        print(f"error: {type(error).__name__}: {message} (--debug shows where)", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    # Imported here, after the flags are known to be right: torch takes seconds.
    from ..host import compat, registry  # noqa: PLC0415

    compat.apply()
    registry.install_lazy_hub()
    if options.downstream != TASK:
        _run_other_task(arguments)
        return
    registry.register_task(TASK, __package__.rpartition(".")[0])
    _choose_device(options)
    _refuse_what_cannot_work(options)
    _set_up_host(options)
    if options.mode == "train":
        _train(options)
    else:
        _use(options)


def _run_other_task(arguments: Sequence[str]) -> None:
    """Hand a task of S3PRL's own to its own command, on the mended stack."""
    import s3prl.run_downstream  # noqa: PLC0415

    sys.argv[1:] = arguments
    s3prl.run_downstream.main()


def _train(options: argparse.Namespace) -> None:
    from .settings import (  # noqa: PLC0415
        checkpoints,
        choose_checkpoint,
        datamap_stage,
        new_settings,
        settings_from_checkpoint,
    )

    if options.past_exp is None:
        complete_defaults(options)
        if options.auto_resume and checkpoints(Path(options.expdir)):
            options.past_exp = options.expdir
    if options.past_exp is not None:
        settings = settings_from_checkpoint(options, choose_checkpoint(Path(options.past_exp), "train"))
        _announce(settings)
    else:
        settings = new_settings(options)
        _announce(settings)
        _make_room(settings.expdir, overwrite=options.overwrite)
        if _needs_datamap(settings):
            settings.task["mapmix"]["datamap"] = str(_make_datamap(datamap_stage(settings), options))
    _run_stage(settings, "train")
    _score_test(settings, options)


def _make_datamap(stage: Any, options: argparse.Namespace) -> Path:
    """Train the data map, unless the folder holds the very map that is asked for, and return its datamap.csv."""
    from ..plan import DATAMAP_NAME  # noqa: PLC0415
    from .settings import checkpoints, settings_from_checkpoint  # noqa: PLC0415

    datamap, kept = stage.expdir / DATAMAP_NAME, stage.expdir / _REQUEST_NAME
    request = _request(stage)
    if kept.is_file() and not options.overwrite:
        differing = [key for key, value in request.items() if json.loads(kept.read_text()).get(key) != value]
        if differing:
            raise UserError(
                f"{stage.expdir}: holds a data map made with another {', '.join(differing)}. "
                "Choose another folder by -n or -p, or start anew by --overwrite."
            )
    complete = stage.expdir / "complete"
    if complete.is_file() and datamap.is_file() and kept.is_file() and json.loads(kept.read_text()) == request:
        print(f"[lid_mapmix] stage 1 of 2, data map: complete in {stage.expdir}")
        return datamap
    print(f"[lid_mapmix] stage 1 of 2, data map: training into {stage.expdir}")
    if checkpoints(stage.expdir) and options.auto_resume:
        stage_options = argparse.Namespace(**{**vars(options), "expdir": str(stage.expdir)})
        stage = settings_from_checkpoint(stage_options, checkpoints(stage.expdir)[-1])
    else:
        _make_room(stage.expdir, overwrite=True)
    complete.unlink(missing_ok=True)
    _write_atomically(kept, json.dumps(request, indent=1))
    _run_stage(stage, "train")
    _write_atomically(complete, "")
    print(f"[lid_mapmix] stage 2 of 2, {options.downstream_variant}: training into {stage.expdir.parent}")
    return datamap


def _use(options: argparse.Namespace) -> None:
    """Evaluate a split or identify a recording."""
    from .settings import choose_checkpoint, new_settings, settings_from_checkpoint  # noqa: PLC0415

    if options.expdir is None and options.expname is not None:
        options.expdir = f"result/downstream/{options.expname}"
    if options.past_exp is not None:
        settings = settings_from_checkpoint(options, choose_checkpoint(Path(options.past_exp), options.mode))
    else:
        complete_defaults(options)
        settings = new_settings(options)
    if options.mode == "inference" and not Path(options.evaluate_split).is_file():
        raise UserError(f"{options.evaluate_split}: no such audio file. Name the file to identify by -t.")
    _announce(settings)
    _run_stage(settings, options.mode)
    if options.mode == "evaluate":
        _print_scores(settings.expdir, [options.evaluate_split])


def _run_stage(settings: Any, mode: str) -> None:
    """Run S3PRL's runner once."""
    from ..config import check_configuration  # noqa: PLC0415
    from ..host.runner import make_runner  # noqa: PLC0415

    settings.args.mode = mode
    check_configuration(settings.config)
    settings.expdir.mkdir(parents=True, exist_ok=True)
    _seed_global_generators(settings.args.seed)
    runner = make_runner(settings.args, settings.config)
    # Only now, when nothing was wrong with them; the runner has filled in the steps.
    if mode == "train":
        _keep_settings(settings, runner.config)
    getattr(runner, mode)()
    del runner
    gc.collect()


def _score_test(settings: Any, options: argparse.Namespace) -> None:
    """Score the test split with the best checkpoint of a run that has ended."""
    from .settings import choose_checkpoint, settings_from_checkpoint  # noqa: PLC0415

    splits = ["dev"]
    if Path(settings.task["data"]["directory"], "test.csv").is_file():
        use = argparse.Namespace(**{**vars(options), "mode": "evaluate", "evaluate_split": "test"})
        use.expdir = settings.args.expdir
        _run_stage(settings_from_checkpoint(use, choose_checkpoint(settings.expdir, "evaluate")), "evaluate")
        splits.append("test")
    _print_scores(settings.expdir, splits)


def _print_scores(expdir: Path, splits: Sequence[str]) -> None:
    from ..scoring.tables import format_table  # noqa: PLC0415

    found = {split: expdir / f"{split}_metrics.json" for split in splits}
    rows = {split: json.loads(path.read_text())["overall"] for split, path in found.items() if path.is_file()}
    print(f"\n{format_table(rows)}\n")
    for path in sorted(expdir.iterdir()):
        if path.suffix in (".csv", ".json", ".ckpt", ".txt") and path.name != _REQUEST_NAME:
            print(f"  {path}")
    if (expdir / "datamap" / "datamap.csv").is_file():
        print(f"  {expdir / 'datamap' / 'datamap.csv'}")


def _announce(settings: Any) -> None:
    print(f"[lid_mapmix] run in {settings.expdir}; settings, lowest precedence first: {' < '.join(settings.sources)}")


def _needs_datamap(settings: Any) -> bool:
    from ..config import task_config  # noqa: PLC0415

    config = task_config(settings.task)
    return config.needs_datamap and config.mapmix.datamap is None


def _make_room(expdir: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds a run, or clear away its checkpoints."""
    held = sorted(expdir.glob("*.ckpt"))
    if held and not overwrite:
        raise UserError(
            f"{expdir}: already holds a run ({held[-1].name}). Go on with it by -a, start anew by --overwrite, "
            "or choose another folder by -n or -p."
        )
    for path in held:
        path.unlink()


def _request(stage: Any) -> dict[str, Any]:
    """Say what a data map is made from and how, in so far as it decides about the map."""
    directory = Path(stage.task["data"]["directory"] or ".")
    data = {name: value for name, value in stage.task["data"].items() if name not in ("directory", "workers")}
    args = vars(stage.args)
    return {
        **{name: _digest(directory / name) for name in ("train.csv", "labels.yaml")},
        "upstream": {
            key: args[key] for key in sorted(args) if key.startswith("upstream") and key != "upstream_refresh"
        },
        "seed": args["seed"],
        "optimizer": stage.config["optimizer"],
        "batches and crops": data,
        "model": stage.task["model"],
        "datamap": stage.task["datamap"],
    }


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _keep_settings(settings: Any, config: dict[str, Any]) -> None:
    """Save arguments and merged configuration beside the run, under the names S3PRL gives them."""
    import yaml  # noqa: PLC0415

    tag = datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
    for name, content in (("args", vars(settings.args)), ("config", config)):
        _write_atomically(settings.expdir / f"{name}_{tag}.yaml", yaml.safe_dump(content, sort_keys=False))


def _write_atomically(path: Path, text: str) -> None:
    from ..files import replace_when_complete  # noqa: PLC0415

    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _choose_device(options: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415

    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    elif options.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {options.device}: this machine has no usable GPU. Leave --device out, or say cpu.")


def _refuse_what_cannot_work(options: argparse.Namespace) -> None:
    import huggingface_hub  # noqa: PLC0415

    from ..host import registry  # noqa: PLC0415

    if options.hub == "torch" and options.upstream is not None:
        registry.check_upstream(options.upstream)
    if (options.hub == "huggingface" or options.push_to_hf_hub) and int(huggingface_hub.__version__.split(".")[0]) >= 1:
        raise UserError(
            "--hub huggingface and --push_to_hf_hub need huggingface_hub < 1.0, found "
            f"{huggingface_hub.__version__}. Upstreams hf_wav2vec2_custom and hf_hubert_custom load a downloaded "
            "folder by -k."
        )


def _set_up_host(options: argparse.Namespace) -> None:
    """Do once a process what S3PRL's own command does before its runner."""
    import torch  # noqa: PLC0415

    # Many small tensors travel from the workers; file descriptors would run out.
    torch.multiprocessing.set_sharing_strategy("file_system")
    if options.cache_dir is not None:
        torch.hub.set_dir(options.cache_dir)
    if options.local_rank is not None:
        torch.cuda.set_device(options.local_rank)
        torch.distributed.init_process_group(options.backend)
    torch.backends.cudnn.enabled = not options.disable_cudnn
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def _seed_global_generators(seed: int) -> None:
    """Seed what the models' initial weights are drawn from; nothing of ours draws from it afterwards."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - upstreams draw from it
    torch.manual_seed(seed)
