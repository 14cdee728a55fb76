r"""Speed of batched filter banks, compared to S3PRL's, which process one waveform at a time.

    .venv/bin/python bench/filter_banks.py
    .venv/bin/python bench/filter_banks.py --batch 32 --seconds 6 --threads 2

Both are computed alternately in one process; medians and their ratio are printed.
"""

import argparse
import statistics
import time

import torch
from lid_mapmix.host import compat, registry
from lid_mapmix.host.filter_banks import FilterBanks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="waveforms per batch; default: 16, as in the demo")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a waveform; default: 3")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    compat.apply()
    registry.install_lazy_hub()
    import s3prl.hub  # noqa: PLC0415 - on the mended stack

    extracter = s3prl.hub.fbank().extracter
    filter_banks = FilterBanks(extracter)
    waveforms = [0.1 * torch.randn(round(options.seconds * 16_000)) for _ in range(options.batch)]
    ways = {
        "one by one": lambda: [extracter(waveform) for waveform in waveforms],
        "together": lambda: filter_banks.extract(waveforms),
    }
    difference = max(
        (one - other).abs().max().item() for one, other in zip(*(compute() for compute in ways.values()), strict=True)
    )
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, compute in ways.items():
            start = time.perf_counter()
            compute()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:<12}{1e3 * median:8.1f} ms")
    print(f"ratio {medians['one by one'] / medians['together']:.2f}; largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
