"""The pages keep their word: the README's commands run in its order, all others have flags that exist, links lead."""

import re
import shlex
import shutil
import sys
from importlib import import_module

import pytest
import s3prl.util.download
import soundfile
import yaml
from helpers.checkpoints import Shape, cached, save_hubert, save_wav2vec2
from helpers.documents import PAGES, anchors, commands, links
from helpers.forking import run_forked
from helpers.launching import QUICK, ROOT, overrides, run
from helpers.synthetic import SIZES, hum, make_corpus
from lid_mapmix.apps import cli
from lid_mapmix.apps.leaderboard import running
from lid_mapmix.apps.settings import arguments

PAPER_CLASSES = (
    *("ara-acm", "ara-apc", "ara-ary", "ara-arz", "eng-gbr", "eng-usg", "qsl-pol"),
    *("qsl-rus", "por-brz", "spa-car", "spa-eur", "spa-lac", "zho-cmn", "zho-nan"),
)
README = ROOT / "README.md"
# What takes longer than the suite may; .ci/run runs it after the suite.
MAKE = {"make demo", "make test"}
# Regions of two epochs need quantiles: by thresholds nothing is easy by then.
SHORT = {**QUICK, "downstream_expert.datamap.regions": "quantile", "downstream_expert.datamap.per_class": True}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder with what the README has its reader bring: recordings, the benches, upstreams' weights."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("xaa-one", "xaa-two", "ybb-one", "ybb-two")):
        (tmp_path / "recordings" / name).mkdir(parents=True)
        for index in range(12):
            samples = hum(1.0, 120 * 1.5**number, 100 * number + index)
            soundfile.write(tmp_path / "recordings" / name / f"{index:02d}.wav", samples, 16_000)
    shutil.copy("recordings/xaa-one/00.wav", "recording.wav")
    for file, save in (("xlsr_53_56k.pt", save_wav2vec2), ("hubert_base_ls960.pt", save_hubert)):
        save(cached(tmp_path, file), Shape(stable=True))
    monkeypatch.setattr(s3prl.util.download, "_download_dir", tmp_path / ".cache/s3prl/download")
    monkeypatch.setattr(running, "run_process", _run_process)
    (tmp_path / "bench").mkdir()
    shutil.copy(ROOT / "bench/paper.yaml", "bench")
    for number in (1, 2, 3):
        make_corpus(
            tmp_path / f"data/lre17-set{number}", classes=PAPER_CLASSES, sizes=dict.fromkeys(SIZES, 1), seconds=0.1
        )
    (tmp_path / "bench/demo.yaml").write_text(yaml.safe_dump(_small_grid()))
    return tmp_path


def _small_grid():
    """Return the grid of bench/demo.yaml with two of its upstreams, one of its variants, and a few steps."""
    grid = yaml.safe_load((ROOT / "bench/demo.yaml").read_text())
    grid["upstreams"] = {name: grid["upstreams"][name] for name in ("fbank", "mfcc")}
    grid["variants"], grid["seeds"], grid["data"] = ["baseline"], [0], {"demo": "data/mine"}
    grid["settings"] = {
        "runner": {"total_steps": 4, "eval_step": 4, "save_step": 4, "log_step": 2},
        "downstream_expert": {
            "data": {"batch_size": 8, "crop_seconds": 0.5, "workers": 0},
            "model": {"encoder": "none"},
            "evaluation": {"bootstrap_samples": 20},
        },
    }
    return grid


def test_the_readmes_commands_run_one_after_the_other(folder, hub, capsys):
    lines = list(commands(README))
    plain = {shlex.join(shlex.split(line, comments=True)) for line in lines}
    assert plain >= MAKE
    assert {line for line in plain if line.startswith("make")} == MAKE
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] != "make":
            assert _run(words) == 0, f"{line}\n{capsys.readouterr().err[-3000:]}"
    first = folder / "result/downstream/first"
    made = ("report.html", "test_truncation.png", "datamap/suspects.csv")
    assert not [
        path for path in (*map(first.joinpath, made), folder / "dialects", folder / "demo.zip") if not path.exists()
    ]
    assert "model.safetensors" in hub.files("USER/NAME")


def _run_process(command, output, environment, stop, lock):
    """Make a run of the leaderboard in a process that need not import torch."""
    assert command[:4] == [sys.executable, "-m", "lid_mapmix", "run"]
    done = run_forked(run, *command[4:], environment=environment)
    output.write_text(done.stdout + done.stderr)
    return done.returncode


def _run(words):
    """Run a command as it stands, in this process, where it trains with fewer and smaller steps."""
    if words[0] == "lid-mapmix":
        return cli.main(words[1:])
    assert words[:2] == ["python", "run_downstream.py"]
    flags = words[2:]
    if "evaluate" not in flags:
        own = [flags.pop(flags.index("-o") + 1), flags.remove("-o")][:1] if "-o" in flags else []
        flags += ["-o", ",,".join([*own, overrides(SHORT)]), "--device", "cpu"]
    return run(*flags)


def test_what_takes_too_long_for_a_test_is_run_by_ci():
    assert set((ROOT / ".ci/run").read_text().splitlines()) >= MAKE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_flags_that_exist(page):
    for line in commands(page):
        words = shlex.split(re.sub(r" > .*", "", line), comments=True)
        if words[:1] == ["lid-mapmix"] and words[1] != "run":
            module, _, function = cli.COMMANDS[words[1]].parser.partition(":")
            getattr(import_module(f"lid_mapmix.apps.{module}"), function)().parse_args(words[2:])
        elif "run_downstream.py" in words:
            at = words.index("run_downstream.py") + 1
            arguments.make_parser("run_downstream.py").parse_args(words[at:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link
