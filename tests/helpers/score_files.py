"""Files of scores in every format, written line by line as the formats' own tools would, for a made-up system."""

import json
import math

import numpy as np

CLASSES = ("ara-acm", "ara-apc", "qsl-pol", "qsl-rus")
CLUSTER_OF = {name: name.split("-")[0] for name in CLASSES}


class MadeSystem:
    """What a system says of `count` utterances: three cuts of each recording, two sources, three durations.

    Attributes
    ----------
    ids, truth, group, source : lists of str. seconds : list of float. log_probabilities : list of lists of float.
    """

    def __init__(self, count=60, *, skill=1.5, seed=0, data_seed=0):
        data, generator = np.random.default_rng(data_seed), np.random.default_rng(seed)
        truth = np.append(np.arange(len(CLASSES)), data.integers(len(CLASSES), size=count - len(CLASSES)))
        logits = generator.normal(size=(count, len(CLASSES)))
        logits[np.arange(count), truth] += skill
        self.ids = [f"utt-{number:03d}" for number in range(count)]
        self.truth = [CLASSES[number] for number in truth]
        self.group = [f"rec-{number // 3:03d}" for number in range(count)]
        self.source = ["vast" if number % 2 else "mls14" for number in range(count)]
        self.seconds = [(3.0, 10.0, 30.0)[number % 3] for number in range(count)]
        self.log_probabilities = [
            [value - math.log(sum(math.exp(other) for other in row)) for value in row] for row in logits.tolist()
        ]

    @property
    def predictions(self):
        return [CLASSES[row.index(max(row))] for row in self.log_probabilities]

    @property
    def rows(self):
        return list(
            zip(
                self.ids,
                self.truth,
                self.predictions,
                self.seconds,
                self.group,
                self.source,
                self.log_probabilities,
                strict=True,
            )
        )

    def ratios(self):
        result = []
        for row in self.log_probabilities:
            others = [sum(math.exp(x) for x in row) - math.exp(value) for value in row]
            result.append([value - math.log(other / (len(row) - 1)) for value, other in zip(row, others, strict=True)])
        return result


def write_scores_csv(path, system, classes=CLASSES):
    order = [CLASSES.index(name) for name in classes]
    lines = [",".join(["id,class,prediction,seconds,group,source", *classes])]
    for name, truth, prediction, seconds, group, source, values in system.rows:
        fixed = [name, truth, prediction, str(seconds), group, source]
        lines.append(",".join([*fixed, *(repr(values[place]) for place in order)]))
    return write(path, lines)


def write_nist_tsv(path, system):
    lines = ["\t".join(["segmentid", *CLASSES])]
    for name, row in zip(system.ids, system.ratios(), strict=True):
        lines.append("\t".join([name, *map(repr, row)]))
    return write(path, lines)


def write_kaldi(path, system, *, ratios=False):
    rows = system.ratios() if ratios else [[value + 7 for value in row] for row in system.log_probabilities]
    return write(
        path,
        [
            f"{name} {language} {value!r}"
            for name, row in zip(system.ids, rows, strict=True)
            for language, value in zip(CLASSES, row, strict=True)
        ],
    )


def write_trn(path, system):
    return write(path, [f"{row[1]}\t{row[2]}\t{row[0]}" for row in system.rows])


def write_manifest(path, system):
    lines = ["audiopath,class,seconds,id,group,source,speaker"]
    for name, truth, _, seconds, group, source, _ in reversed(system.rows):
        lines.append(f"audio/{name}.wav,{truth},{seconds},{name},{group},{source},s{len(group + truth) % 2}")
    return write(path, lines)


def write_nist_key(path, system):
    lines = ["segmentid\tlanguage_code\tdata_source\tspeech_duration"]
    return write(path, lines + [f"{row[0]}\t{row[1]}\t{row[5]}\t{row[3]:g}" for row in system.rows])


def write_utt2lang(path, system):
    return write(path, [f"{row[0]} {row[1]}" for row in system.rows])


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))
