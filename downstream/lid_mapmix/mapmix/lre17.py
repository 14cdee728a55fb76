"""The confidence labels of the Map-Mix paper for NIST LRE 2017, as its authors publish them.

Only what a class leaves to others of its cluster is given; as likeness, it makes the rows sum to 1 exactly, which the
rounded figures do not.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import UserError

# class → what it leaves to others of its cluster (arXiv 2302.08229, published code).
_SHARES: dict[str, dict[str, float]] = {
    "ara-acm": {"ara-apc": 0.13139856, "ara-ary": 0.06841516, "ara-arz": 0.05018629},
    "ara-apc": {"ara-acm": 0.1090087, "ara-ary": 0.07234471, "ara-arz": 0.06864659},
    "ara-ary": {"ara-acm": 0.08757757, "ara-apc": 0.08694835, "ara-arz": 0.07547408},
    "ara-arz": {"ara-acm": 0.08027083, "ara-apc": 0.08976811, "ara-ary": 0.07996106},
    "eng-gbr": {"eng-usg": 0.25},
    "eng-usg": {"eng-gbr": 0.25},
    "qsl-pol": {"qsl-rus": 0.25},
    "qsl-rus": {"qsl-pol": 0.25},
    "por-brz": {"spa-car": 0.08348278, "spa-eur": 0.08137903, "spa-lac": 0.08513819},
    "spa-car": {"por-brz": 0.03007011, "spa-eur": 0.06198897, "spa-lac": 0.15794092},
    "spa-eur": {"por-brz": 0.07484129, "spa-car": 0.08263538, "spa-lac": 0.09252334},
    "spa-lac": {"por-brz": 0.05206356, "spa-car": 0.10113815, "spa-eur": 0.09679829},
    "zho-cmn": {"zho-nan": 0.25},
    "zho-nan": {"zho-cmn": 0.25},
}


def lre17_likeness(classes: Sequence[str]) -> np.ndarray:
    """Return the paper's likeness of LRE17's classes, (classes, classes) float64 in the order given.

    Raises
    ------
    UserError : a class that LRE17 does not have.
    """
    unknown = [name for name in classes if name not in _SHARES]
    if unknown:
        raise UserError(
            f"likeness lre17: class {unknown[0]} is none of LRE17's ({', '.join(_SHARES)}). "
            "Use likeness estimated, uniform or given."
        )
    return np.array([[_SHARES[name].get(other, 0.0) for other in classes] for name in classes])
