"""The data map as Dataset Cartography's own scripts read it (github.com/allenai/cartography, arXiv 2009.10795).

td_metrics.jsonl has a JSON object an utterance, in the order of the training manifest:

=================== ==============================================================================
field               value
=================== ==============================================================================
guid                id of the utterance
index               its row in the training manifest, from 0 up
threshold_closeness ``confidence · (1 - confidence)``
confidence          mean probability of the label
variability         its population standard deviation over the epochs
correctness         **how many** of the epochs were right; datamap.csv, as Map-Mix, has the fraction
forgetfulness       right → wrong transitions; 1000 where never right; datamap.csv leaves that empty
=================== ==============================================================================

Utterances whose audio could not be read in any epoch are left out. Names, their order, the count and the 1000 are
those of ``cartography/selection/train_dy_filtering.py`` there; decimals are 10, as pandas writes them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..utils.files import replace_when_complete
from .datamap import Measures

_NEVER_RIGHT = 1000
_DECIMALS = 10


def write_td_metrics(path: Path | str, ids: np.ndarray, measures: Measures) -> None:
    """Write td_metrics.jsonl, complete or not at all.

    Parameters
    ----------
    path : the file to write.
    ids : (N,) str, names of the utterances.
    measures : of the same N utterances.
    """
    with replace_when_complete(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_lines(ids, measures))


def _lines(ids: np.ndarray, measures: Measures) -> Iterator[str]:
    forgetfulness = np.nan_to_num(measures.forgetfulness, nan=_NEVER_RIGHT).astype(np.int64)
    counts = np.rint(np.nan_to_num(measures.correctness) * measures.epochs).astype(np.int64)
    columns = {
        "guid": ids.tolist(),
        "index": range(len(ids)),
        "threshold_closeness": measures.threshold_closeness.round(_DECIMALS).tolist(),
        "confidence": measures.confidence.round(_DECIMALS).tolist(),
        "variability": measures.variability.round(_DECIMALS).tolist(),
        "correctness": counts.tolist(),
        "forgetfulness": forgetfulness.tolist(),
    }
    for row, epochs in zip(zip(*columns.values(), strict=True), measures.epochs.tolist(), strict=True):
        if epochs == 0:
            continue
        yield json.dumps(dict(zip(columns, row, strict=True)), separators=(",", ":")) + "\n"
