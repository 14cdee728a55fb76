"""Random draws that depend on their key only.

S3PRL reseeds every global generator at each evaluation, and a resumed run starts with other generator states than
the run it continues. So nothing here draws from a global generator: each draw has its own generator,
keyed by the run's seed, the purpose of the draw and the numbers that identify it (epoch, index, step).
"""

import zlib

import numpy as np

_TORCH_SEED_LIMIT = 2**63


def _seed_sequence(seed: int, purpose: str, numbers: tuple[int, ...]) -> np.random.SeedSequence:
    # crc32, because hash() differs between Python processes.
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *numbers])


def keyed_generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return the NumPy generator of a draw.

    `seed`: the run's seed, not negative. `purpose`: of the draw, for example ``"crop"``; different purposes have
    independent generators. `numbers`: identify the draw; not negative, for example epoch and utterance number.
    """
    return np.random.Generator(np.random.PCG64(_seed_sequence(seed, purpose, numbers)))


def keyed_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Return a seed in [0, 2**63) for a generator of another library, such as torch's."""
    return int(_seed_sequence(seed, purpose, numbers).generate_state(1, np.uint64)[0] % _TORCH_SEED_LIMIT)
