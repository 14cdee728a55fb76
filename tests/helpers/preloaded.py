"""What the server of forking.py imports once; no thread may be started by it."""

import huggingface_hub.repocard  # noqa: F401
import jinja2  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import requests  # noqa: F401
import safetensors.numpy  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch  # noqa: F401
from lid_mapmix.apps.report import model_card  # noqa: F401
from lid_mapmix.apps.runs import procedure  # noqa: F401
from lid_mapmix.host import compat, registry

from . import launching  # noqa: F401

compat.apply()
registry.install_lazy_hub()
import s3prl.downstream.runner  # noqa: E402
import s3prl.upstream.baseline.hubconf  # noqa: E402, F401
