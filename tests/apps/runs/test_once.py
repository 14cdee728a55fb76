"""One command reads each manifest once, and each audio header once before it trains."""

import json

import soundfile
from helpers.launching import ROOT, overrides, run_python
from helpers.synthetic import CLASSES, hum
from lid_mapmix.data.manifest.manifest import write_manifest

COUNTED = """\
import collections, json, os, sys
import soundfile
manifests, headers, trains = collections.Counter(), collections.Counter(), []

def count(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path, mode = os.fspath(arguments[0]), arguments[1] or "r"
        if os.path.dirname(path) == data and path.endswith(".csv") and not set(mode) & set("wax+"):
            manifests[os.path.basename(path)] += 1

class Counted(soundfile.SoundFile):
    def __init__(self, file, *arguments, **keywords):
        name = os.path.basename(os.fsdecode(file))
        if not trains and name.startswith("shared"):
            headers[name] += 1
        super().__init__(file, *arguments, **keywords)

counts, data, expdir, settings = sys.argv[1:]
soundfile.SoundFile = Counted
sys.addaudithook(count)
from lid_mapmix.apps.runs import launch
from lid_mapmix.training.train_dataset import TrainDataset
read = TrainDataset.__getitem__
TrainDataset.__getitem__ = lambda self, item: trains.append(item) or read(self, item)
flags = ["-u", "fbank", "-v", "mapmix", "--data", data, "-p", expdir, "--device", "cpu", "-o", settings]
assert launch.main(flags) == 0
assert trains
with open(counts, "w") as file:
    json.dump({"manifests": manifests, "headers": headers}, file)
"""
ROWS, FILES = 40, 4


def test_manifests_and_headers_are_read_once(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(FILES):
        soundfile.write(data / f"shared-{number}.wav", hum(30.0, 120 * 1.5**number, number), 16_000)
    for split, first in (("train", 0.0), ("dev", 12.0), ("test", 24.0)):
        rows = [(number, first + 0.5 * part) for number in range(FILES) for part in range(ROWS // FILES)]
        columns = {
            "id": [f"{split}-{number}-{start}" for number, start in rows],
            "audiopath": [f"shared-{number}.wav" for number, _ in rows],
            "class": [CLASSES[number] for number, _ in rows],
            "seconds": [0.5] * len(rows),
            "start": [start for _, start in rows],
            "end": [start + 0.5 for _, start in rows],
        }
        write_manifest(data / f"{split}.csv", columns)
    settings = overrides({"downstream_expert.epochs": 1, "downstream_expert.datamap.regions": "quantile"})
    done = run_python(
        *("-c", COUNTED, tmp_path / "counts.json", data, tmp_path / "run", settings), path=[ROOT / "downstream"]
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["manifests"] == {"train.csv": 1, "dev.csv": 1, "test.csv": 1}
    assert counts["headers"] == {f"shared-{number}.wav": 1 for number in range(FILES)}
