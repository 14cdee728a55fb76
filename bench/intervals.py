r"""Do the confidence intervals hold the true score in 95 % of test sets, and are p-values uniform for equal systems?

    .venv/bin/python bench/intervals.py speakers --classes 10 --units 30 --repeats 400
    .venv/bin/python bench/intervals.py utterances --utterances 100 --classes 5 --repeats 400
    .venv/bin/python bench/intervals.py seeds --seeds 3 --repeats 1000

Test sets are drawn from a model: logits of the true class, of the speaker if there is one, and noise. The true score is
that of a very large set. The standard error of a coverage near .95 is .011 with 400 sets.
"""

import argparse
from collections.abc import Callable

import numpy as np
from lid_mapmix.apps.leaderboard.comparison import Compared, best_row
from lid_mapmix.scoring.bootstrap import bootstrap, paired_bootstrap, sampling_units
from lid_mapmix.scoring.weighted import WeightedScores
from scipy.special import log_softmax

# Speakers, and utterances of a speaker, of a very large set.
_LARGE, _MANY = 40_000, 10
_LIMITS = (0.05, 0.5)


def draw(
    generator: np.random.Generator, units: int, each: int, classes: int, *, effect: float, systems: int = 1
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return log-probabilities of systems, truth and speaker of units × each utterances; a speaker has one class."""
    speaker = np.repeat(np.arange(units), each)
    truth = speaker % classes
    found = []
    for _ in range(systems):
        logits = (
            generator.normal(size=(len(truth), classes)) + effect * generator.normal(size=(units, classes))[speaker]
        )
        logits[np.arange(len(truth)), truth] += 1.5
        found.append(log_softmax(logits * 1.5, axis=1))
    return found, truth, speaker.astype(str)


def intervals(options: argparse.Namespace, *, has_speakers: bool) -> None:
    """Print per score the coverage of its interval, and how often equal systems differ with p below .05 and .5."""
    each, effect = (options.each, options.effect) if has_speakers else (1, 0.0)
    units = options.units if has_speakers else options.utterances
    clusters = np.arange(options.classes) // 2
    generator = np.random.default_rng(1)
    (values,), truth, _ = draw(generator, _LARGE, min(each, _MANY), options.classes, effect=effect)
    right = WeightedScores(values, truth, clusters)(np.ones((1, len(truth)), np.float32))
    held = dict.fromkeys(right, 0)
    values_of_p: dict[str, list[float]] = {name: [] for name in right}
    for _ in range(options.repeats):
        outputs, truth, speaker = draw(generator, units, each, options.classes, effect=effect, systems=2)
        drawn_units = sampling_units(truth, speaker=speaker if has_speakers else None)
        systems = [WeightedScores(values, truth, clusters) for values in outputs]
        found = bootstrap(systems[0], drawn_units, options.samples)
        compared = paired_bootstrap(*systems, drawn_units, options.samples)
        for name, difference in compared.items():
            held[name] += name in found and found[name].low <= right[name][0] <= found[name].high
            values_of_p[name].append(difference.p)
    print(f"{drawn_units.text}; {options.repeats} sets\n{'':15} coverage  p < .05  p < .5")
    for name in right:
        p = np.array(values_of_p[name])
        coverage = f"{held[name] / options.repeats:.3f}" if name in found else "-"
        print(f"{name:15} {coverage:>8} ", *(f"{np.mean(p < limit):7.3f}" for limit in _LIMITS))


def seeds(options: argparse.Namespace) -> None:
    """Print how often the better of two equal methods whose runs differ by 5 points is bold in the leaderboard."""
    generator, tested = np.random.default_rng(2), []
    for _ in range(options.repeats):
        rows = []
        shared = generator.normal(size=(2, 1, options.samples + 1)) * options.utterance_error
        for method in range(2):
            seed_error = generator.normal(size=(options.seeds, 1)) * options.seed_error
            own = generator.normal(size=(options.seeds, options.samples + 1)) * options.utterance_error
            value = 0.6 + seed_error + (shared[method] + own)[:, :1]
            moved = value + (shared[method] + own)[:, 1:]
            rows.append(
                {
                    ("d", seed): Compared(1, {"acc": float(value[seed, 0])}, {"acc": moved[seed]})
                    for seed in range(options.seeds)
                }
            )
        means = [float(np.mean([one.values["acc"] for one in row.values()])) for row in rows]
        found = best_row("acc", means, rows, is_higher_better=True)
        tested.append(1.0 if found is None or found[1] is None else found[1])
    p = np.array(tested)
    for limit in (0.05, 0.1, 0.2, 0.5):
        print(f"{options.seeds} seeds, p < {limit}: {np.mean(p < limit):.3f}")


def main() -> None:
    """Simulate and print."""
    kinds: dict[str, Callable[[argparse.Namespace], None]] = {
        "speakers": lambda options: intervals(options, has_speakers=True),
        "utterances": lambda options: intervals(options, has_speakers=False),
        "seeds": seeds,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=kinds, nargs="?", default="speakers", help="simulation; default: speakers")
    for name, value, text in (
        ("--repeats", 100, "test sets"),
        ("--samples", 200, "bootstrap resamples"),
        ("--classes", 10, "classes"),
        ("--units", 30, "speakers"),
        ("--each", 20, "utterances of a speaker"),
        ("--utterances", 100, "utterances, where each is drawn by itself"),
        ("--seeds", 3, "runs of a method"),
    ):
        parser.add_argument(name, type=int, default=value, help=f"number of {text}; default: {value}")
    parser.add_argument("--effect", type=float, default=1.0, help="standard deviation of speakers; default: 1")
    parser.add_argument("--seed-error", type=float, default=0.05, help="standard deviation of seeds; default: .05")
    parser.add_argument("--utterance-error", type=float, default=0.01, help="that of the utterances; default: .01")
    options = parser.parse_args()
    kinds[options.kind](options)


if __name__ == "__main__":
    main()
