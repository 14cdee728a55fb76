import pytest
from helpers.synthetic import write_manifest
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.voices import limits_of_voices


def corpus(folder, **splits):
    """Write manifests of (class, speaker) pairs, without audio."""
    for split, pairs in splits.items():
        classes, speakers = zip(*pairs, strict=True)
        paths = [f"{number}.wav" for number in range(len(pairs))]
        columns = {"audiopath": paths, "class": classes, "seconds": [1.0] * len(pairs), "speaker": speakers}
        write_manifest(folder / f"{split}.csv", columns)
    return Corpus(folder, {"x": ["x-a", "x-b"]})


WELL = [(name, f"{name}{number}") for name in ("x-a", "x-b") for number in range(5)]


@pytest.mark.parametrize(
    ("train", "dev", "expected"),
    [
        (WELL, [("x-a", "new"), ("x-b", "new")], []),
        (WELL, [("x-a", "x-b3"), ("x-b", "new")], ["classes of dev with speakers of train: x-a; "]),
        (WELL[1:], [("x-a", "new")], ["classes with fewer than 5 speakers in train: x-a (4); "]),
        # A speaker in many utterances is one; an utterance without a speaker is none.
        (WELL[:5] + [("x-b", "one")] * 9 + [("x-b", "")], [("x-a", "new")], ["speakers in train: x-b (1); "]),
        ([("x-a", "s"), ("x-b", "t")], [("x-b", "t")], ["x-a (1), x-b (1); ", "with speakers of train: x-b; "]),
        ([("x-a", ""), ("x-b", "")], [("x-b", "t")], ["the speakers of train or dev are not known"]),
    ],
)
def test_what_dev_does_not_cover(train, dev, expected, tmp_path):
    lines = limits_of_voices(corpus(tmp_path, train=train, dev=dev))
    assert len(lines) == len(expected)
    for line, part in zip(lines, expected, strict=True):
        assert part in line and "other voices" in line


def test_many_classes_are_counted(tmp_path):
    names = [f"x-{number:02}" for number in range(20)]
    pairs = [(name, f"s{name}") for name in names]
    corpus(tmp_path, train=pairs, dev=[("x-00", "new")])
    (line,) = limits_of_voices(Corpus(tmp_path, {"x": names}))
    assert "x-07 (1) and 12 others;" in line and "x-08" not in line


def test_without_dev_there_is_nothing_to_say(tmp_path):
    assert limits_of_voices(corpus(tmp_path, train=WELL)) == []
