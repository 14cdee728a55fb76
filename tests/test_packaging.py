"""Installed from the sources, editable, or from a plain clone: the same command, with all of its files.

The new environments see the packages of this one, so nothing is downloaded; setuptools has to be among them, and is
wherever torch is.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import lid_mapmix
import pytest
import yaml
from helpers.launching import ROOT
from lid_mapmix.apps import cli

SOURCES = (
    *("downstream", "upstream_configs", "setup.py", "pyproject.toml", "README.md", "run_downstream.py"),
    *("LICENSE", "NOTICE"),
)
CHECK = """
import sys
from pathlib import Path
import lid_mapmix
from lid_mapmix.config.sources import DEFAULT_CONFIG, read_variant, read_yaml, upstream_config_path, variant_names
print(Path(lid_mapmix.__file__).resolve().parent)
assert read_yaml(DEFAULT_CONFIG)["downstream_expert"]
assert len(variant_names()) >= 5 and all(read_variant(name) for name in variant_names())
assert read_yaml(upstream_config_path("fbank"))["finetune"]["config"]
import lid_mapmix.apps.report
names = {path.name for path in Path(lid_mapmix.apps.report.__file__).parent.iterdir()}
assert names > {"page.html", "page.css", "head.html", "model_card.md.jinja"}
assert Path(lid_mapmix.__file__).with_name("py.typed").is_file()
assert Path(lid_mapmix.__file__).with_name("data").joinpath("prepare/commonvoice_accents.yaml").is_file()
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a copy of what a checkout holds, without what building left there."""
    folder = tmp_path_factory.mktemp("clone")
    for name in SOURCES:
        source = ROOT / name
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=unwanted)
        else:
            shutil.copy(source, folder / name)
    return folder


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    process = subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(params=["installed", "editable"])
def environment(request, clone, tmp_path):
    """Return a fresh environment with the package in it, and where its modules are to be found."""
    assert importlib.util.find_spec("setuptools"), "this test builds the package, which needs setuptools>=77"
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    site = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "packages_of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    sources = shutil.copytree(clone, tmp_path / "sources")
    flags = ["--editable"] if request.param == "editable" else []
    pip = [venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps"]
    run(*pip, "--no-build-isolation", "--ignore-installed", *flags, sources, cwd=tmp_path)
    place = sources / "downstream" if flags else site
    return venv, site, place / "lid_mapmix"


def test_install(environment, tmp_path):
    venv, site, package = environment
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "prepare" in run(venv / "bin" / "lid-mapmix", "--help", cwd=elsewhere)
    assert "--upstream_trainable" in run(venv / "bin" / "lid-mapmix", "run", "--help", cwd=elsewhere)
    assert run(venv / "bin" / "python", "-c", CHECK, cwd=elsewhere).strip() == str(package.resolve())
    assert not (site / "s3prl").exists(), "nothing may be installed into S3PRL"
    information = next(site.glob("lid_mapmix-*.dist-info"))
    assert "\ns3prl/" not in f"\n{(information / 'RECORD').read_text()}"
    assert {path.name for path in information.rglob("*") if path.name in ("LICENSE", "NOTICE")} == {"LICENSE", "NOTICE"}
    metadata = (information / "METADATA").read_text()
    assert f"\nVersion: {lid_mapmix.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_plain_clone(clone, tmp_path):
    assert "--upstream_trainable" in run(sys.executable, clone / "run_downstream.py", "--help", cwd=tmp_path)
    code = f"import sys; sys.path.insert(0, {str(clone / 'downstream')!r})\n{CHECK}"
    assert (
        Path(run(sys.executable, "-c", code, cwd=tmp_path).strip()) == (clone / "downstream" / "lid_mapmix").resolve()
    )


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    changes = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert citation == changes[0] == lid_mapmix.__version__


def test_version_names_what_decides_about_results(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"lid_mapmix {lid_mapmix.__version__}"
    assert [line.split()[0] for line in lines] == ["lid_mapmix", "torch", "s3prl"]


def test_version_imports_no_torch():
    code = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); import lid_mapmix.apps.cli as cli"
    )
    printed = run(sys.executable, "-c", f"{code}; cli.main(['--version'])", cwd=ROOT / "downstream")
    assert printed.splitlines()[-1] == "False"
