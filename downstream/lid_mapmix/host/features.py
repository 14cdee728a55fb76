"""An upstream with S3PRL's featurizer and without its runner, for inference.

The same functions patch it as in the runner, so that features are those of an evaluation.
"""

import argparse
import contextlib
import functools
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..utils.errors import UserError
from . import downloads
from .architecture import Architecture, build_recording, rebuild
from .hugging_face import builders
from .precision import Casting, Precision, read_precision
from .runner import prepare, random_states_kept
from .trust import reading_data_only
from .upstreams import (
    UpstreamSettings,
    check_features,
    check_layer,
    check_upstream_arguments,
    explained,
    patch_upstream,
)


class Features:
    """Computes frames, the input of a run's model, from waveforms, by an upstream and a featurizer of S3PRL.

    `architecture`: to build the upstream without its checkpoint; None if it is not known.
    """

    def __init__(
        self,
        upstream: Any,
        architecture: Architecture | None,
        args: argparse.Namespace,
        runner: Mapping[str, Any],
        settings: UpstreamSettings,
    ) -> None:
        from s3prl.upstream.interfaces import Featurizer

        self.device = torch.device(args.device)
        precision = read_precision(runner)
        if precision is Precision.FP16 and self.device.type == "cpu":
            precision = Precision.FP32
        self.autocast = Casting(precision, args.device).autocast  # the context for computing
        upstream = upstream.to(self.device)
        # For inference, compiling or checkpointing would only take time.
        patch_upstream(upstream, args, settings, runner={})
        check_layer(upstream, args)
        with contextlib.redirect_stderr(io.StringIO()):  # it prints which features it uses
            featurizer = Featurizer(
                upstream=upstream,
                feature_selection=args.upstream_feature_selection,
                layer_selection=args.upstream_layer_selection,
                upstream_device=args.device,
                normalize=args.upstream_feature_normalize,
            ).to(self.device)
        check_features(upstream, featurizer, args, settings)
        self.upstream, self.featurizer = upstream.eval(), featurizer.eval()
        self.architecture, self.adapter = architecture, settings.adapter
        self.dim: int = featurizer.output_dim  # size of a frame
        self.rate: int = featurizer.downsample_rate  # samples from one frame to the next

    def __call__(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return one (frames, dim) torch.Tensor per (samples,) float32 waveform at 16 kHz on this device."""
        return self.featurizer(list(waveforms), self.upstream(list(waveforms)))


def build_features(args: argparse.Namespace, runner: Mapping[str, Any], settings: UpstreamSettings) -> Features:
    """Build the features of a run from its upstream's weights, as S3PRL's runner does.

    Raises UserError: the upstream cannot be built, or lacks the features of the run.

    `args`: S3PRL's arguments of the run; `device` is where to build, `may_download` whether the user named the
    upstream. `runner`: the ``runner`` section of the run's configuration. `settings`: the run's other requests of its
    upstream.
    """
    if getattr(args, "hub", "torch") != "torch" or getattr(args, "from_hf_hub", False):
        raise UserError(
            f"upstream {args.upstream}: expected an upstream of S3PRL, found one from the Hugging Face Hub, whose code "
            "is not run here. Use another run."
        )
    prepare()
    check_upstream_arguments(args, settings)
    may_download = getattr(args, "may_download", False)
    with (
        contextlib.redirect_stdout(sys.stderr),  # standard output is for answers
        random_states_kept(),
        explained(args),
        reading_data_only(),
        downloads.allowed(may_download),
    ):
        from s3prl import hub

        build = builders().get(args.upstream) or getattr(hub, args.upstream)
        weights = {"ckpt": args.upstream_ckpt, "model_config": args.upstream_model_config, "refresh": False}
        upstream, architecture = build_recording(args.upstream, functools.partial(build, **weights))
        return Features(upstream, architecture, args, runner, settings)


def rebuild_features(
    architecture: Architecture, args: argparse.Namespace, runner: Mapping[str, Any], settings: UpstreamSettings
) -> Features:
    """Build features from an architecture; nothing is unpickled, and weights must be loaded afterwards."""
    prepare()
    with contextlib.redirect_stdout(sys.stderr), random_states_kept(), explained(args):
        return Features(rebuild(architecture), architecture, args, runner, settings)
