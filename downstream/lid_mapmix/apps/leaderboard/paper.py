"""The paper's tables, on LRE 2017 (arXiv 2302.08229, tables 1 and 2), and the rows of a leaderboard beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PAPER_COLUMNS = ("acc", "wf1", "c_acc", "ece")


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper: upstream, variant, and the mean over its three training sets, in the order of the columns."""

    upstream: str
    variant: str
    values: tuple[float, float, float, float]


_XLSR = "XLSR"
PAPER = (
    PaperRow("wav2vec 2.0", "baseline", (0.522, 0.481, 0.904, 0.271)),
    PaperRow("HuBERT", "baseline", (0.541, 0.505, 0.900, 0.231)),
    PaperRow(_XLSR, "baseline", (0.632, 0.601, 0.959, 0.158)),
    PaperRow(_XLSR, "static", (0.564, 0.529, 0.842, 0.112)),
    PaperRow(_XLSR, "latent_random", (0.658, 0.638, 0.945, 0.108)),
    PaperRow(_XLSR, "latent_within", (0.646, 0.614, 0.945, 0.127)),
    PaperRow(_XLSR, "latent_across", (0.655, 0.641, 0.949, 0.105)),
    PaperRow(_XLSR, "easy", (0.657, 0.631, 0.948, 0.107)),
    PaperRow(_XLSR, "hard", (0.636, 0.605, 0.943, 0.132)),
    PaperRow(_XLSR, "amb_easy", (0.658, 0.644, 0.945, 0.101)),
    PaperRow(_XLSR, "mapmix", (0.677, 0.658, 0.958, 0.067)),
)


def beside_paper(rows: Sequence[Mapping[str, Any]]) -> list[tuple[PaperRow, list[Mapping[str, Any]]]]:
    """Return the paper's rows in their order, each with the leaderboard's rows of that variant.

    A row whose upstream is named wav2vec2… or hubert… stands beside the paper's of that name, any other one beside its
    XLSR.
    """
    return [
        (paper, [row for row in rows if row["variant"] == paper.variant and _kin(row["upstream"]) == paper.upstream])
        for paper in PAPER
    ]


def _kin(upstream: str) -> str:
    return next(
        (name for start, name in (("wav2vec2", "wav2vec 2.0"), ("hubert", "HuBERT")) if upstream.startswith(start)),
        _XLSR,
    )
