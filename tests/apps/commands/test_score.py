"""``lid-mapmix score`` in process: every format, comparisons, calibration, conversion, and what it refuses."""

import json
import math
import os
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from helpers.latex import read_latex
from helpers.score_files import (
    CLASSES,
    CLUSTER_OF,
    MadeSystem,
    read_json,
    write,
    write_kaldi,
    write_manifest,
    write_nist_key,
    write_nist_tsv,
    write_scores_csv,
    write_trn,
    write_utt2lang,
)
from lid_mapmix.apps import cli
from lid_mapmix.apps.commands.score_results import letters
from lid_mapmix.apps.runs import launch
from lid_mapmix.scoring.bootstrap import resampling_weights, sampling_units
from lid_mapmix.scoring.choices import FileFormat, Kind
from reference import classification, detection
from reference.calibration import expected_calibration_error
from scipy import stats

WRITERS = {
    "test_scores.csv": write_scores_csv,
    "scores.tsv": write_nist_tsv,
    "scores.txt": write_kaldi,
    "lid.trn": write_trn,
}
KEYS = {"test.csv": write_manifest, "keys.tsv": write_nist_key, "utt2lang": write_utt2lang}


def score(*arguments):
    return cli.main(["score", *map(str, arguments)])


def fault(capsys, *arguments):
    """Run a command that fails and return its line."""
    assert score(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def usage_fault(capsys, *arguments):
    """Run a command whose flags are wrong and return what is said of them."""
    with pytest.raises(SystemExit) as caught:
        score(*arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 2 and printed.out == ""
    usage, _, message = printed.err.partition("lid-mapmix score: error: ")
    assert usage.startswith("usage: lid-mapmix score") and message.count("\n") == 1
    return message


def expected_scores(system, rows=None, *, sources=True):
    """Compute what can be, in plain Python; `rows` are the utterances that count."""
    rows = range(len(system.ids)) if rows is None else rows
    truth, answers = [system.truth[row] for row in rows], [system.predictions[row] for row in rows]
    numbers = [CLASSES.index(name) for name in truth]
    values = [system.log_probabilities[row] for row in rows]
    ratios = [[detection.log_likelihood_ratio(row, target) for target in range(len(CLASSES))] for row in values]
    return {
        "acc": sum(a == t for a, t in zip(answers, truth, strict=True)) / len(truth),
        "wf1": classification.weighted_f1(answers, truth),
        "macro_f1": classification.macro_f1(answers, truth),
        "c_acc": sum(CLUSTER_OF[a] == CLUSTER_OF[t] for a, t in zip(answers, truth, strict=True)) / len(truth),
        "ece": expected_calibration_error(np.exp(values), numbers),
        "c_primary": detection.c_primary(ratios, numbers, [system.source[row] if sources else "" for row in rows]),
        "cllr": detection.cllr(values, numbers),
        "count": len(truth),
    }


@pytest.fixture(autouse=True)
def quick_faults(monkeypatch):
    """Spare each fault the collection of garbage, which is there for the progress bars of training."""
    monkeypatch.setattr(launch.gc, "collect", lambda: 0)


@pytest.fixture
def systems():
    return MadeSystem(seed=1, skill=1.2), MadeSystem(seed=2, skill=1.8)


@pytest.mark.parametrize("key", [None, *KEYS])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_with_every_key_has_the_scores_worked_out_apart(name, key, tmp_path, systems, capsys):
    system = systems[0]
    path = WRITERS[name](tmp_path / name, system)
    flags = ["--samples", 0, "--json", tmp_path / "out.json"]
    if key is not None:
        flags += ["--key", KEYS[key](tmp_path / f"key-{key}", system)]
    if name in ("scores.tsv", "scores.txt") and key is None:
        assert "by --key FILE" in fault(capsys, path, *flags)
        assert not (tmp_path / "out.json").exists()
        return
    assert score(path, *flags) == 0
    found = read_json(tmp_path / "out.json")["systems"][0]
    assert found["file"] == str(path) and set(found["classes"]) == set(CLASSES)
    knows_source = name == "test_scores.csv" or key in ("test.csv", "keys.tsv")
    expected = expected_scores(system, sources=knows_source)
    if name == "lid.trn":
        expected = {score: expected[score] for score in ("acc", "wf1", "macro_f1", "c_acc", "count")}
        assert found["overall"].keys() == expected.keys()
    assert {score: found["overall"][score] for score in expected} == pytest.approx(expected)
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("overall"))
    assert row[1:3] == [f"{expected['acc']:.3f}", f"{expected['wf1']:.3f}"] and row[-1] == "60"


def test_kaldis_lines_may_be_ratios(tmp_path, systems, capsys):
    system, key = systems[0], write_utt2lang(tmp_path / "utt2lang", systems[0])
    path = write_kaldi(tmp_path / "scores.txt", system, ratios=True)
    flags = ["--key", key, "--samples", 0, "--json", tmp_path / "out.json"]
    assert score(path, *flags, "--scores", "ratios") == 0
    found = read_json(tmp_path / "out.json")["systems"][0]["overall"]
    assert found["cllr"] == pytest.approx(expected_scores(system)["cllr"])
    assert score(path, *flags, "--overwrite") == 0  # taken as log-likelihoods, which they are not
    assert read_json(tmp_path / "out.json")["systems"][0]["overall"]["cllr"] != pytest.approx(found["cllr"], abs=1e-3)
    capsys.readouterr()
    other = write_nist_tsv(tmp_path / "scores.tsv", system)
    assert "found none. Remove it" in fault(capsys, other, "--key", key, "--scores", "ratios")


def test_ratios_that_belong_to_no_likelihoods_cost_what_nist_says(tmp_path, systems, capsys):
    system = systems[0]
    generator = np.random.default_rng(0)
    shifts = (generator.normal(size=60) * 3).tolist()
    ratios = [[value + shift for value in row] for row, shift in zip(system.ratios(), shifts, strict=True)]
    system.ratios = lambda: ratios
    path, key = write_nist_tsv(tmp_path / "s.tsv", system), write_nist_key(tmp_path / "k.tsv", system)
    flags = ["--key", key, "--calibrate", path, "--calibrate-key", key, "--json", tmp_path / "o"]
    assert score(path, *flags, "--samples", 200) == 0
    found = read_json(tmp_path / "o")["systems"][0]
    numbers = [CLASSES.index(name) for name in system.truth]
    expected = detection.c_primary(ratios, numbers, system.source)
    assert found["overall"]["c_primary"] == found["calibration"]["before"]["c_primary"] == pytest.approx(expected)
    assert abs(expected - expected_scores(system)["c_primary"]) > 0.1
    low, high = found["intervals"]["c_primary"]
    assert expected_scores(system)["c_primary"] < low < expected < high
    capsys.readouterr()
    # Without sources, so that the minimum is that of the reference; and from Kaldi's lines, and beside another system.
    utt2lang, kaldi = (
        write_utt2lang(tmp_path / "utt2lang", system),
        write_kaldi(tmp_path / "k.txt", system, ratios=True),
    )
    flags = ["--key", utt2lang, "--scores", "ratios", "--samples", 20, "--json", tmp_path / "o", "--overwrite"]
    assert score(write_nist_tsv(tmp_path / "other.tsv", systems[1]), kaldi, *flags) == 0
    content = read_json(tmp_path / "o")
    minimum = np.mean([detection.minimum_cavg(ratios, numbers, beta) for beta in (1, 9)])
    assert content["systems"][1]["overall"]["c_primary_min"] == pytest.approx(minimum)
    both = [one["overall"]["c_primary"] for one in content["systems"]]
    assert content["comparisons"][0]["differences"]["c_primary"]["value"] == pytest.approx(both[1] - both[0])
    one = content["comparisons"][0]["differences"]["c_primary"]
    assert one["low"] < one["value"] < one["high"]
    assert score(path, "--convert", "nist", "--out", tmp_path / "same.tsv") == 0
    rows = [line.split("\t")[1:] for line in (tmp_path / "same.tsv").read_text().splitlines()[1:]]
    np.testing.assert_allclose(np.array(rows, dtype=float), ratios, rtol=1e-8)


def test_slices_by_anything_that_is_known(tmp_path, systems, capsys):
    system = systems[0]
    path = write_nist_tsv(tmp_path / "scores.tsv", system)
    key = write_manifest(tmp_path / "test.csv", system)
    ways = ["duration", "source", "cluster", "class", "speaker", "group"]
    assert score(path, "--key", key, "--by", ",".join(ways), "--samples", 0, "--json", tmp_path / "out.json") == 0
    found = read_json(tmp_path / "out.json")["systems"][0]
    rows = range(len(system.ids))
    columns = {
        "duration": [f"{value:g}" for value in system.seconds],
        "source": system.source,
        "cluster": [CLUSTER_OF[name] for name in system.truth],
        "class": system.truth,
    }
    for way, values in columns.items():
        assert {name: one["count"] for name, one in found[f"by_{way}"].items()} == Counter(values)
        for name, scores in found[f"by_{way}"].items():
            expected = expected_scores(system, [row for row in rows if values[row] == name]) if way != "class" else {}
            known = ("acc", "wf1", "c_acc", "ece", "cllr", *(["c_primary"] if way == "source" else []))
            assert {s: scores[s] for s in known if expected} == pytest.approx(
                {s: expected[s] for s in known if expected}
            )
    assert found["by_class"]["ara-acm"]["eer"] is None  # there is nothing to tell it from
    assert len(found["by_group"]) == 20 and sum(one["count"] for one in found["by_speaker"].values()) == 60
    assert list(found["by_duration"]) == ["3", "10", "30"]
    printed = capsys.readouterr().out
    assert "\nduration 10 " in printed and "\nclass qsl-rus " in printed


def test_what_cannot_be_sliced_by_is_one_line(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "test_scores.csv", systems[0])
    message = fault(capsys, path, "--by", "duration,speaker")
    assert message.startswith("--by speaker: ") and "duration, cluster, class, group, source" in message
    assert "--by duration" in fault(capsys, write_trn(tmp_path / "lid.trn", systems[0]), "--by", "duration")


def test_labels_say_which_classes_are_alike(tmp_path, systems, capsys):
    system = systems[0]
    labels = write(tmp_path / "labels.yaml", ["one: [ara-acm, qsl-pol]", "two: [ara-apc]", "three: [qsl-rus, xxx]"])
    path = write_trn(tmp_path / "lid.trn", system)
    out = tmp_path / "out.json"
    assert score(path, "--labels", labels, "--by", "cluster", "--samples", 0, "--json", out) == 0
    found = read_json(out)["systems"][0]
    cluster = {"ara-acm": 1, "qsl-pol": 1, "ara-apc": 2, "qsl-rus": 3}
    alike = [cluster[a] == cluster[t] for a, t in zip(system.predictions, system.truth, strict=True)]
    assert found["overall"]["c_acc"] == pytest.approx(np.mean(alike))
    assert list(found["by_cluster"]) == ["one", "two", "three"]
    capsys.readouterr()
    write(labels, ["one: [ara-acm, qsl-pol]"])
    assert "found 2 missing, such as ara-apc" in fault(capsys, path, "--labels", labels)


def test_it_says_which_clusters_and_when_there_are_too_few_to_draw(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "test_scores.csv", systems[0])
    assert score(path, "--samples", 2) == 0
    printed = capsys.readouterr().out
    assert "\nclusters: the part of a class name before '-'; for others use --labels FILE\n" in printed
    assert "say little" not in printed
    labels = write(tmp_path / "labels.yaml", ["one: [ara-acm, qsl-pol]", "two: [ara-apc, qsl-rus]"])
    write(path, path.read_text().splitlines()[:28])  # 9 groups of 3
    assert score(path, "--samples", 2, "--labels", labels) == 0
    printed = capsys.readouterr().out
    assert f"\nclusters: {labels}\n" in printed
    assert "of 9 groups of 27 utterances; fewer than 10 say little of others" in printed


def test_a_folder_and_another_json_are_named_as_what_they_are(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "test_scores.csv", systems[0])
    assert "found a folder. Use a file in it" in fault(capsys, tmp_path)
    other = write(tmp_path / "metrics.json", ["{}"])
    assert "expected a calibration, found: no 'format' in it." in fault(capsys, path, "--calibrate", other)


def test_two_systems_against_a_slow_bootstrap(tmp_path, systems, capsys):
    first, second = systems
    paths = write_scores_csv(tmp_path / "a.csv", first), write_scores_csv(tmp_path / "b.csv", second, CLASSES[::-1])
    lines = paths[1].read_text().splitlines()
    write(paths[1], [lines[0], *sorted(lines[1:], reverse=True)])  # another order of utterances, too
    assert score(*paths, "--samples", 60, "--seed", 5, "--json", tmp_path / "out.json") == 0
    content = read_json(tmp_path / "out.json")
    drawn = "20 groups of 60 utterances"
    assert content["bootstrap"] == {"samples": 60, "seed": 5, "level": 0.95, "drawn": drawn}
    found = content["comparisons"][0]["differences"]
    units = sampling_units(np.array([CLASSES.index(name) for name in first.truth]), np.array(first.group))
    weights = np.concatenate(list(resampling_weights(units, samples=60, seed=5)))
    # 19 of 20 groups are drawn, and weigh 20 / 19.
    drawn = [[row for row, times in enumerate(one) for _ in range(round(times * 19 / 20))] for one in weights]
    assert all(len(rows) == 57 for rows in drawn)
    assert all(len({Counter(drawn[0])[row] for row in range(start, start + 3)}) == 1 for start in range(0, 60, 3))
    moved = {name: [] for name in ("acc", "wf1", "macro_f1", "c_acc", "cllr")}
    for rows in drawn:
        one, other = expected_scores(first, rows), expected_scores(second, rows)
        for name, values in moved.items():
            values.append(other[name] - one[name])
    whole = expected_scores(first), expected_scores(second)
    spread = stats.t.ppf(0.975, 19) / stats.norm.ppf(0.975)
    for name, found_values in moved.items():
        value = whole[1][name] - whole[0][name]
        values = [value + spread * (one - value) for one in found_values]
        low, high = np.quantile(values, [0.025, 0.975])
        opposite = min(sum(v <= 1e-9 for v in values), sum(v >= -1e-9 for v in values))
        expected = {"value": whole[1][name] - whole[0][name], "low": low, "high": high}
        assert {key: found[name][key] for key in expected} == pytest.approx(expected, abs=1e-5)
        assert found[name]["p"] == pytest.approx(min(1, 2 * (opposite + 1) / 61))
    right = [[p == t for p, t in zip(one.predictions, one.truth, strict=True)] for one in systems]
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (right, right[::-1])]
    p = content["comparisons"][0]["mcnemar_p"]
    assert p == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
    printed = capsys.readouterr().out
    assert "intervals: 60 resamples of 20 groups of 60 utterances" in printed
    assert (
        f"McNemar's exact test of acc: p = {p:.3g} (assumes independent utterances; those of one of the groups"
        in printed
    )
    cells = next(line.split() for line in printed.splitlines() if line.startswith("acc  "))
    assert cells[1:4] == [f"{value:.3f}" for value in (whole[0]["acc"], whole[1]["acc"], found["acc"]["value"])]


def test_a_system_does_not_differ_from_itself_in_another_order(tmp_path, systems):
    paths = (
        write_scores_csv(tmp_path / "a.csv", systems[0]),
        write_scores_csv(tmp_path / "b.csv", systems[0], sorted(CLASSES, key=lambda n: n[::-1])),
    )
    assert score(*paths, "--samples", 20, "--json", tmp_path / "out.json") == 0
    for one in read_json(tmp_path / "out.json")["comparisons"][0]["differences"].values():
        assert one["value"] == pytest.approx(0, abs=1e-7) and one["p"] in (1, None)  # None: ECE is not compared


def test_several_systems_of_several_formats_against_the_first(tmp_path, systems, capsys):
    first, second = systems
    paths = [
        write_nist_tsv(tmp_path / "scores.tsv", first),  # its truth is what the others know
        write_trn(tmp_path / "lid.trn", second),
        write_scores_csv(tmp_path / "s.csv", second),
    ]
    assert score(*paths, "--samples", 20, "--by", "duration", "--json", tmp_path / "out.json") == 0
    content = read_json(tmp_path / "out.json")
    assert [one["second"] for one in content["comparisons"]] == list(map(str, paths[1:]))
    assert content["comparisons"][0]["differences"].keys() == {"acc", "wf1", "macro_f1", "c_acc"}
    assert "cllr" in content["comparisons"][1]["differences"]
    assert content["systems"][1]["by_duration"]["10"]["count"] == 20
    printed = capsys.readouterr().out
    for text in ("\nA overall", "\nC 95 % to", "\nB duration 30", "B − A", "C − A", f"B  {paths[1]}: lid.trn, 60"):
        assert text in printed


def test_without_resamples_there_are_no_intervals(tmp_path, systems, capsys):
    paths = [write_scores_csv(tmp_path / f"{number}.csv", one) for number, one in enumerate(systems)]
    assert score(*paths, "--samples", 0) == 0
    printed = capsys.readouterr().out
    assert "95 %" not in printed and "intervals" not in printed and "B − A" in printed and "nan" not in printed


def test_answers_of_classes_that_only_some_give(tmp_path, systems):
    system = systems[0]
    trn = write(
        tmp_path / "lid.trn",
        [f"{name}\tara-acm\t{utterance}" for name, utterance in zip(system.truth, system.ids, strict=True)],
    )
    other = write(
        tmp_path / "b.trn",
        [f"{name}\txxx\t{utterance}" for name, utterance in zip(system.truth, system.ids, strict=True)],
    )
    assert score(trn, other, "--samples", 20, "--json", tmp_path / "out.json") == 0
    found = read_json(tmp_path / "out.json")
    assert found["systems"][0]["classes"] == [*CLASSES, "xxx"]
    assert found["comparisons"][0]["differences"]["acc"]["value"] == -system.truth.count("ara-acm") / 60


@pytest.mark.parametrize("kind", Kind)
def test_calibration_is_fitted_on_dev_and_shown_before_and_after(kind, tmp_path, capsys):
    dev, test = (MadeSystem(400, seed=seed, data_seed=seed) for seed in (3, 4))
    for system in (dev, test):  # four times too sure
        steep = [[4 * value for value in row] for row in system.log_probabilities]
        system.log_probabilities = [[v - math.log(sum(map(math.exp, row))) for v in row] for row in steep]
    paths = write_scores_csv(tmp_path / "dev.csv", dev, CLASSES[::-1]), write_scores_csv(tmp_path / "test.csv", test)
    saved, picture, out = tmp_path / "calibration.json", tmp_path / "curve.png", tmp_path / "out.json"
    flags = ["--calibrate", paths[0], "--calibration", kind, "--save-calibration", saved, "--reliability", picture]
    assert score(paths[1], *flags, "--samples", 0, "--json", out) == 0
    found = read_json(out)["systems"][0]["calibration"]
    before, after = found["before"], found["after"]
    assert before["cllr"] == pytest.approx(expected_scores(test)["cllr"])
    assert after["cllr"] < before["cllr"] - 0.4 and after["ece"] < before["ece"] / 2
    assert 0 <= after["c_primary"] - after["c_primary_min"] < before["c_primary"] - before["c_primary_min"]
    assert sum(point["count"] for point in after["reliability"]) == 400
    assert picture.read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert (
        f"calibrated by {paths[0]}: {kind}, fitted on 400 dev utterances with" in printed
        and f"  {picture}\n" in printed
    )
    row = next(line.split() for line in printed.splitlines() if line.startswith("after"))
    assert row[-3:] == [f"{after[name]:.3f}" for name in ("cllr", "cllr_min", "cllr_cal")]
    # What was saved does the same to the same file, whatever the order of its classes.
    again = write_scores_csv(tmp_path / "again.csv", test, (CLASSES[2], CLASSES[0], CLASSES[3], CLASSES[1]))
    assert score(again, "--calibrate", saved, "--samples", 0, "--json", tmp_path / "2.json") == 0
    assert read_json(tmp_path / "2.json")["systems"][0]["calibration"]["after"]["cllr"] == pytest.approx(after["cllr"])
    # And its calibrated scores, written and read, are the scores after.
    assert score(again, "--calibrate", saved, "--convert", "nist", "--out", tmp_path / "s.tsv") == 0
    assert score(tmp_path / "s.tsv", "--key", again, "--samples", 0, "--json", tmp_path / "3.json") == 0
    overall = read_json(tmp_path / "3.json")["systems"][0]["overall"]
    for name in ("cllr", "c_primary", "c_primary_min", "eer"):
        assert overall[name] == pytest.approx(after[name], abs=1e-6)


def test_each_system_has_a_calibration_of_its_own(tmp_path, systems, capsys):
    paths = [write_scores_csv(tmp_path / f"{number}.csv", one) for number, one in enumerate(systems)]
    devs = [write_nist_tsv(tmp_path / f"{number}.tsv", one) for number, one in enumerate(systems)]
    key = write_utt2lang(tmp_path / "utt2lang", systems[0])
    flags = ["--calibrate", devs[0], "--calibrate", devs[1], "--samples", 0]
    assert "--calibrate-key FILE" in fault(capsys, *paths, *flags)
    assert score(*paths, *flags, "--calibrate-key", key) == 0
    printed = capsys.readouterr().out
    assert "\nA before" in printed and "\nB after" in printed
    assert "--calibrate: expected once per FILE" in usage_fault(capsys, *paths, *flags[:2])


@pytest.mark.parametrize("source", WRITERS)
@pytest.mark.parametrize("target", FileFormat)
def test_any_format_becomes_any_other(source, target, tmp_path, systems, capsys):
    system = systems[0]
    (tmp_path / "in").mkdir()
    path = WRITERS[source](tmp_path / "in" / source, system)
    key = write_manifest(tmp_path / "key.csv", system)
    to = tmp_path / "new" / {"trn": "lid.trn"}.get(target, f"file.{target}")
    arguments = [path, "--key", key, "--convert", target, "--out", to]
    if source == "lid.trn" and target != "trn":
        assert "found predictions only" in fault(capsys, *arguments)
        assert not to.parent.exists()
        return
    assert score(*arguments) == 0
    assert f"  {to}\n" in capsys.readouterr().out
    flags = ["--key", key, "--samples", 0]
    for number, one in enumerate((path, to)):
        assert score(one, *flags, "--json", tmp_path / f"{number}.json") == 0
    before, after = (read_json(tmp_path / f"{number}.json")["systems"][0]["overall"] for number in (0, 1))
    assert {name: after[name] for name in after} == pytest.approx({name: before[name] for name in after}, abs=1e-6)


def test_nist_becomes_kaldi_without_any_truth(tmp_path, systems, capsys):
    path = write_nist_tsv(tmp_path / "s.tsv", systems[0])
    assert score(path, "--convert", "kaldi", "--out", tmp_path / "s.txt") == 0
    assert len((tmp_path / "s.txt").read_text().splitlines()) == 240
    capsys.readouterr()
    assert "by --key FILE" in fault(capsys, path, "--convert", "scores", "--out", tmp_path / "s.csv")


def test_what_is_written_before_a_fault_is_said(tmp_path, systems, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    path, out = write_scores_csv(tmp_path / "s.csv", systems[0]), tmp_path / "out.json"
    assert score(path, "--samples", 0, "--json", out, "--reliability", tmp_path / "curve.png") == 1
    printed = capsys.readouterr()
    assert printed.out.endswith(f"\nwritten:\n  {out}\n")
    assert printed.err == "error: curve.png needs matplotlib, which is not installed. Install it by 'pip install " + (
        "matplotlib'.\n"
    )
    assert sorted(tmp_path.iterdir()) == [out, path]


def test_durations_beyond_any_corpus_are_slices_of_their_own(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "test_scores.csv", systems[0])
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert lines[0][3] == "seconds"
    for number, line in enumerate(lines[1:]):
        line[3] = str(1_234_567 + number % 2)
    write(path, [",".join(line) for line in lines])
    assert score(path, "--by", "duration", "--samples", 0, "--json", tmp_path / "out.json") == 0
    found = read_json(tmp_path / "out.json")["systems"][0]["by_duration"]
    assert {name: one["count"] for name, one in found.items()} == {"1234567": 30, "1234568": 30}


def test_ratios_that_belong_to_no_likelihoods_are_converted_with_a_word(tmp_path, systems, capsys):
    said = "do not follow from likelihoods; the costs and EER of the converted"
    path = write_nist_tsv(tmp_path / "s.tsv", systems[0])
    assert score(path, "--convert", "kaldi", "--out", tmp_path / "a.txt") == 0
    assert said not in capsys.readouterr().out
    own = write(tmp_path / "own.tsv", ["segmentid\ta\tb", "u\t3\t2", "v\t-1\tinf"])
    assert score(own, "--convert", "kaldi", "--out", tmp_path / "b.txt") == 0
    assert said in capsys.readouterr().out
    assert score(own, "--convert", "nist", "--out", tmp_path / "c.tsv") == 0
    assert said not in capsys.readouterr().out
    assert (tmp_path / "c.tsv").read_text() == own.read_text()


def test_nothing_is_written_over(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "s.csv", systems[0])
    content = path.read_bytes()
    (tmp_path / "there").write_text("mine")
    (tmp_path / "there.png").write_text("mine")
    for flags in (
        ["--json", tmp_path / "there"],
        ["--calibrate", path, "--save-calibration", tmp_path / "there"],
        ["--reliability", tmp_path / "there.png"],
        ["--convert", "nist", "--out", tmp_path / "there"],
    ):
        assert "exists already" in fault(capsys, path, "--samples", 0, *flags)
    assert "is another file of this command" in fault(capsys, path, "--json", path, "--overwrite")
    assert "found a folder" in fault(capsys, path, "--json", tmp_path, "--overwrite")
    out = tmp_path / "new.png"
    assert "is another file of this command" in fault(capsys, path, "--json", out, "--reliability", out)
    assert {(tmp_path / name).read_text() for name in ("there", "there.png")} == {"mine"}
    assert path.read_bytes() == content and not out.exists()
    assert score(path, "--samples", 0, "--json", tmp_path / "there", "--overwrite") == 0
    assert "systems" in read_json(tmp_path / "there")


def test_json_without_a_file_is_all_of_standard_output(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "s.csv", systems[0])
    assert score(path, "--samples", 20, "--json", tmp_path / "out.json") == 0
    capsys.readouterr()
    assert score(path, "--samples", 20, "--reliability", tmp_path / "curve.png", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == read_json(tmp_path / "out.json")
    assert f"written:\n  {tmp_path / 'curve.png'}\n" in printed.err


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("test_scores.csv", "utt-001", "utt-000", "utt-000 twice"),
        ("scores.tsv", "utt-001", "utt-000", "utt-000 twice"),
        ("lid.trn", "utt-001", "utt-000", "utt-000 twice"),
        ("scores.txt", "utt-001 ara-acm", "utt-000 ara-acm", "one score of utt-000 for ara-acm, found two"),
        ("test_scores.csv", ",vast,-", ",vast,nan,-", "10 fields in row 3, found 11"),
        ("scores.tsv", "utt-000\t", "utt-000\tnan\t", "5 fields in row 2, found 6"),
        ("test_scores.csv", "utt-000,ara-acm", "utt-000,deu", "found deu"),
        ("test_scores.csv", ",3.0,", ",long,", "a number in row 2, found 'long'"),
        ("scores.txt", "utt-000", "utt\r000", "found the line 'utt"),
        ("test_scores.csv", "id,class", "id;class", "found the line 'id;class"),
        ("scores.tsv", "segmentid\t", "segmentid,", "found the line 'segmentid,ara"),
    ],
)
def test_damaged_files_are_one_line(name, old, new, message, tmp_path, systems, capsys):
    path = WRITERS[name](tmp_path / name, systems[0])
    edited(path, old, new)
    line = fault(capsys, path, "--key", write_utt2lang(tmp_path / "utt2lang", systems[0]))
    assert message in line and str(path) in line


@pytest.mark.parametrize("name", WRITERS)
def test_empty_files_and_lone_headers_are_one_line(name, tmp_path, systems, capsys):
    path = WRITERS[name](tmp_path / name, systems[0])
    header = path.read_text().splitlines()[0]
    path.write_text("")
    assert str(path) in fault(capsys, path)
    path.unlink()
    assert "no such file" in fault(capsys, path)
    if name.endswith((".csv", ".tsv")):
        path.write_text(header + "\n")
        assert "no utterance" in fault(capsys, path)


@pytest.mark.parametrize("name", WRITERS)
def test_byte_order_marks_and_windows_line_ends_change_nothing(name, tmp_path, systems):
    key = write_manifest(tmp_path / "key.csv", systems[0])
    path = WRITERS[name](tmp_path / name, systems[0])
    flags = ["--key", key, "--samples", 0, "--by", "duration,speaker"]
    assert score(path, *flags, "--json", tmp_path / "0.json") == 0
    for one in (path, key):
        one.write_bytes(b"\xef\xbb\xbf" + one.read_bytes().replace(b"\n", b"\r\n"))
    assert score(path, *flags, "--json", tmp_path / "1.json") == 0
    assert read_json(tmp_path / "0.json") == read_json(tmp_path / "1.json")


def test_scores_of_nothing_possible(tmp_path, capsys):
    key = write(tmp_path / "utt2lang", ["u a", "v b"])
    tsv = write(tmp_path / "s.tsv", ["segmentid\ta\tb", "u\t1\t-1", "v\t-inf\t-inf"])
    assert "above minus infinity" in fault(capsys, tsv, "--key", key)
    write(tsv, ["segmentid\ta", "u\t1", "v\t1"])
    assert "at least 2 languages" in fault(capsys, tsv, "--key", key)
    kaldi = write(tmp_path / "s.txt", ["u a 1", "u b inf", "v a 1", "v b 1"])
    assert "below infinity" in fault(capsys, kaldi, "--key", key)
    write(kaldi, ["u a 0", "u b -inf", "v a -inf", "v b 3"])
    assert score(kaldi, "--key", key, "--samples", 10) == 0
    assert "1.000" in capsys.readouterr().out


def test_keys_that_do_not_fit_are_one_line(tmp_path, systems, capsys):
    system = systems[0]
    path = write_nist_tsv(tmp_path / "s.tsv", system)
    key = write_utt2lang(tmp_path / "utt2lang", system)
    lines = key.read_text().splitlines()
    for content, message in (
        (lines[2:], "2 missing, the first utt-000"),
        ([*lines, "more ara-acm", "and-more ara-acm"], "2 missing, the first more"),
        ([*lines[1:], "utt-000 deu"], "found deu of utt-000 (1 such)"),
        ([*lines, lines[0]], "utt-000 twice"),
        ([*lines, "utt-000"], "'utterance language'"),
        (["a,b", "c,d"], "found the line 'a,b'"),
        (["segmentid\tlanguage", "u\ta"], "found the line 'segmentid"),
        (["id,class", "u,"], "found none for u"),
        (["id,class,id"], "no name twice"),
        (["id,class"], "no utterance"),
        ([], "an empty file"),
    ):
        write(key, content)
        assert message in fault(capsys, path, "--key", key)
    assert "no such file" in fault(capsys, path, "--key", tmp_path / "none")
    scores = write_scores_csv(tmp_path / "s.csv", system)
    write(key, [f"{name} {CLASSES[0]}" for name in system.ids])
    assert "expected the true classes of" in fault(capsys, scores, "--key", key)


def test_systems_that_do_not_fit_are_one_line(tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "a.csv", systems[0])
    other = write_scores_csv(tmp_path / "b.csv", systems[1])
    edited(other, "utt-007", "utt-007b")
    assert "1 missing, the first utt-007." in fault(capsys, path, other)
    edited(other, "utt-007b", "utt-007")
    edited(other, f"utt-000,{CLASSES[0]}", f"utt-000,{CLASSES[1]}")
    assert "found ara-apc instead of ara-acm for utt-000" in fault(capsys, path, other)
    edited(other, f"utt-000,{CLASSES[1]}", f"utt-000,{CLASSES[0]}")
    text = other.read_text().replace("qsl-rus", "qsl-ukr")
    other.write_text(text)
    truth = write_utt2lang(tmp_path / "utt2lang", systems[0])
    tsv = write_nist_tsv(tmp_path / "s.tsv", systems[1])
    edited(tsv, "qsl-rus", "qsl-ukr")
    message = fault(capsys, path, tsv, "--key", truth)
    assert "found qsl-ukr" in message and "(2 such)" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--convert", "nist"], "--out: expected both or neither"),
        (["--out", "x"], "--out: expected both or neither"),
        (["--calibration", "full"], "needs --calibrate"),
        (["--save-calibration", "x"], "needs --calibrate"),
        (["--calibrate-key", "x"], "needs --calibrate"),
        (["--convert", "nist", "--out", "x", "--json", "y"], "computes no scores"),
        (["--convert", "nist", "--out", "x", "--by", "class"], "computes no scores"),
        (["--convert", "nist", "--out", "x", "--table", "y.md"], "computes no scores"),
        (["--convert", "nist", "--out", "x", "--labels", "y.yaml"], "computes no scores"),
        (["--calibrate", "c.json", "--calibration", "full"], "--calibration: DEV is already a calibration"),
        (["--calibrate", "c.json", "--calibrate-key", "x"], "--calibrate-key: DEV is already a calibration"),
    ],
)
def test_flags_that_do_not_go_together_return_2(flags, message, tmp_path, systems, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_scores_csv(tmp_path / "s.csv", systems[0])
    assert message in usage_fault(capsys, path, *flags)
    assert usage_fault(capsys, path, path, *flags)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    "flags", [["--reliability", "c.png"], ["--calibrate", "d", "--save-calibration", "x"], ["--convert", "nist"]]
)
def test_flags_for_one_file_with_two_return_2(flags, capsys):
    assert f"{flags[-2]}: expected one FILE" in usage_fault(capsys, "a.csv", "b.csv", *flags)


def test_tables_for_a_paper_say_what_is_printed(tmp_path, systems, capsys):
    paths = [write_scores_csv(tmp_path / f"{name}_50%.csv", system) for name, system in zip("ab", systems, strict=True)]
    written = [tmp_path / "out.tex", tmp_path / "out.md"]
    flags = ["--samples", 50, "--by", "cluster", "--calibrate", paths[0], "--calibrate", paths[1]]
    for path in written:
        assert score(*paths, *flags, "--json", path.with_suffix(".json"), "--table", path, "--overwrite") == 0
    tables = [read_latex(f"{table}\n") for table in written[0].read_text().removesuffix("\n").split("\n\n")]
    rows = [{row[0]: [cell.replace("−", "-") for cell in row[1:]] for row in table} for table in tables]
    content = read_json(tmp_path / "out.json")
    first, (low, high) = content["systems"][0], content["systems"][0]["intervals"]["acc"]
    assert rows[0]["A overall"][0] == f"{first['overall']['acc']:.3f} [{low:.3f}, {high:.3f}]"
    assert len(rows) == 4 and len(rows[0]) == len(rows[1]) == 1 + 2 + 2 * len(set(CLUSTER_OF.values()))
    assert "c_primary_min_class: one for each" in written[1].read_text()
    assert rows[2]["A before"][0] == f"{first['calibration']['before']['acc']:.3f}"
    difference = content["comparisons"][0]["differences"]["acc"]
    expected = [difference[name] for name in ("value", "low", "high", "p")]
    assert rows[3]["acc"][2:] == [f"{value:.3f}" for value in expected]
    assert written[1].read_text().count("\n| ") == sum(map(len, tables)) - 1
    capsys.readouterr()
    assert "exists already" in fault(capsys, *paths, "--table", written[0])
    assert "ends in .tex or .md" in usage_fault(capsys, *paths, "--table", tmp_path / "out.csv")


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("PDF", b"%PDF"), ("svg", b"<?xml")])
def test_a_reliability_curve_is_what_its_name_says(suffix, begins, tmp_path, systems):
    path, curve = write_scores_csv(tmp_path / "s.csv", systems[0]), tmp_path / f"curve.{suffix}"
    assert score(path, "--samples", 0, "--reliability", curve) == 0
    assert curve.read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["curve.jpeg2000", "curve"])
def test_a_picture_of_no_known_format_returns_2(name, tmp_path, systems, capsys):
    path = write_scores_csv(tmp_path / "s.csv", systems[0])
    assert "ends in .png or .pdf or .svg" in usage_fault(capsys, path, "--reliability", tmp_path / name)
    assert [*tmp_path.iterdir()] == [path]


def piped(path, content):
    """Make a pipe, as the shell does for ``<(command)``, into which bytes are written once."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=[content])
    thread.start()
    return thread


@pytest.mark.parametrize("name", WRITERS)
def test_scores_and_their_key_may_come_from_pipes(name, tmp_path, systems):
    path, key = WRITERS[name](tmp_path / name, systems[0]), write_manifest(tmp_path / "key.csv", systems[0])
    flags = ["--samples", 0, "--by", "speaker", "--json"]
    assert score(path, "--key", key, *flags, tmp_path / "0.json") == 0
    pipes = [tmp_path / "63.trn" if name.endswith(".trn") else tmp_path / "63", tmp_path / "62"]
    threads = [piped(pipe, one.read_bytes()) for pipe, one in zip(pipes, (path, key), strict=True)]
    assert score(pipes[0], "--key", pipes[1], *flags, tmp_path / "1.json") == 0
    for thread in threads:
        thread.join(timeout=10)
    found, expected = (read_json(tmp_path / f"{number}.json") for number in (1, 0))
    expected["systems"][0]["file"] = str(pipes[0])
    assert found == expected


def test_answers_cannot_be_calibrated(tmp_path, systems, capsys):
    path, trn = write_scores_csv(tmp_path / "s.csv", systems[0]), write_trn(tmp_path / "lid.trn", systems[0])
    assert "hard labels only" in fault(capsys, trn, "--calibrate", path)
    assert "hard labels only" in fault(capsys, trn, "--reliability", tmp_path / "curve.png")
    assert "hard labels only" in fault(capsys, path, "--calibrate", trn)
    saved = tmp_path / "c.json"
    assert score(path, "--calibrate", path, "--save-calibration", saved, "--samples", 0) == 0
    capsys.readouterr()
    edited(saved, "qsl-rus", "qsl-ukr")
    assert "found qsl-rus in one only" in fault(capsys, path, "--calibrate", saved)
    assert "no such file" in fault(capsys, path, "--calibrate", tmp_path / "none.json")


@pytest.mark.parametrize("flags", [[], ["x", "--samples", "-1"], ["x", "--by", "a,,b"], ["x", "--convert", "wav"]])
def test_wrong_flags_return_2(flags, capsys):
    with pytest.raises(SystemExit) as caught:
        score(*flags)
    assert caught.value.code == 2 and "usage: lid-mapmix score" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "status"), [(["--help"], 0), (["x", "y", "--convert", "nist"], 2)])
def test_help_and_wrong_flags_wait_for_no_numpy(flags, status):
    code = f"import sys; from lid_mapmix.apps import cli\ntry: cli.main(['score', *{flags}])\n"
    code += "except SystemExit as end: status = end.code\n"
    code += "assert not {'numpy', 'scipy', 'sklearn', 'torch', 'yaml'} & set(sys.modules); sys.exit(status)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == status
    assert ("{log-likelihoods,ratios}" in done.stdout and "examples:" in done.stdout) == (status == 0)


def test_torch_is_not_needed(tmp_path, systems):
    path = write_scores_csv(tmp_path / "s.csv", systems[0])
    code = "import sys; from lid_mapmix.apps import cli\n"
    code += f"assert cli.main(['score', {str(path)!r}, '--samples', '2']) == 0\n"
    code += "assert not {'torch', 's3prl', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_more_systems_than_letters():
    assert letters(1) == [""] and letters(3) == ["A", "B", "C"]
    assert letters(28)[-3:] == ["Z", "27", "28"]


def test_class_priors_are_divided_out_of_costs_and_of_converted_scores(tmp_path, capsys):
    system = MadeSystem(300, seed=9)
    plain = write_scores_csv(tmp_path / "plain.csv", system)
    prior = dict(zip(CLASSES, (0.7, 0.1, 0.1, 0.1), strict=True))
    shift = [math.log(prior[name]) for name in CLASSES]
    for row in system.log_probabilities:
        total = math.log(sum(math.exp(v + s) for v, s in zip(row, shift, strict=True)))
        row[:] = [v + s - total for v, s in zip(row, shift, strict=True)]
    posteriors = write_scores_csv(tmp_path / "posteriors.csv", system)
    (tmp_path / "test_metrics.json").write_text(json.dumps({"class_prior": prior, "overall": {}}))
    flags = ("--samples", 0, "--json")
    assert score(plain, *flags, tmp_path / "a.json") == 0
    assert score(posteriors, *flags, tmp_path / "b.json", "--class-prior", tmp_path / "test_metrics.json") == 0
    assert f"class priors in the scores: {tmp_path / 'test_metrics.json'}" in capsys.readouterr().out
    one, other = (read_json(tmp_path / name)["systems"][0]["overall"] for name in ("a.json", "b.json"))
    for name in ("eer", "c_primary", "cllr"):
        assert other[name] == pytest.approx(one[name], abs=1e-6)
    for path, more in ((plain, ()), (posteriors, ("--class-prior", tmp_path / "test_metrics.json"))):
        out = tmp_path / f"{path.stem}.tsv"
        assert score(path, "--convert", "nist", "--out", out, *more) == 0
    rows = [np.loadtxt(tmp_path / f"{name}.tsv", skiprows=1, usecols=range(1, 5)) for name in ("plain", "posteriors")]
    np.testing.assert_allclose(*rows, atol=1e-6)
    (tmp_path / "bad.json").write_text('{"a": 1}')
    assert score(plain, "--class-prior", tmp_path / "bad.json") == 1
    assert "expected JSON with a number above 0 per class of" in capsys.readouterr().err
