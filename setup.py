"""Installs the task as the package lid_mapmix, its upstream configurations with it, and never anything under s3prl."""

import re
from pathlib import Path

from setuptools import find_packages, setup

_FOLDER = "downstream"
_PACKAGE = "lid_mapmix"
# Read and not imported: what the package imports may not be installed yet.
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)

setup(
    name="lid-mapmix",
    version=_VERSION.findall(Path(_FOLDER, _PACKAGE, "__init__.py").read_text(encoding="utf-8"))[0],
    description="Map-Mix dialect and language identification as an S3PRL downstream task",
    author="the lid_mapmix authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    project_urls={
        "Paper": "https://arxiv.org/abs/2302.08229",
        "S3PRL": "https://github.com/s3prl/s3prl",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords=["dialect identification", "language identification", "mixup", "data map", "calibration", "S3PRL"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=[*find_packages(_FOLDER), f"{_PACKAGE}.upstream_configs"],
    package_dir={"": _FOLDER, f"{_PACKAGE}.upstream_configs": "upstream_configs"},
    package_data={
        _PACKAGE: ["config.yaml", "py.typed"],
        f"{_PACKAGE}.apps": ["space.html.jinja"],
        f"{_PACKAGE}.config": ["demo.yaml", "paper.yaml", "variants/*.yaml"],
        f"{_PACKAGE}.data.prepare": ["*.yaml"],
        f"{_PACKAGE}.apps.report": ["head.html", "page.*", "model_card.md.jinja"],
        f"{_PACKAGE}.apps.leaderboard": ["leaderboard.*"],
        f"{_PACKAGE}.upstream_configs": ["*.yaml"],
    },
    install_requires=[
        "s3prl==0.4.18",
        # Lower bounds are versions that were tried together, on Python 3.11.
        "torch>=2.6",
        "torchaudio>=2.6",
        "numpy>=2",  # text columns of manifests: StringDType
        "pyyaml>=6.0.1",
        "scikit-learn>=1.5",
        "scipy>=1.13.1",  # L-BFGS of the calibrations, convolution with rooms; scikit-learn needs it as well
        "threadpoolctl>=3.5",  # one thread per process of a pool; scikit-learn needs it as well
        "filelock>=3.13",  # one process per run; S3PRL needs it as well
        "pydantic>=2.7",  # configuration: types, limits, unknown keys
        "safetensors>=0.8",  # exported runs; transformers needs it as well
        "transformers>=5",  # upstreams hf_*
        "huggingface_hub>=1.33",  # model cards; transformers needs it as well
        "silero-vad>=6.2.3,<7",  # the weights of voice-activity detection; needs nothing but torch
        "soundfile>=0.12.1",  # reads every format and seeks; torchaudio.load needs FFmpeg since 2.9
        "tensorboardX>=2.6.2",  # S3PRL imports it and does not declare it
        "tensorboard>=2.17",  # likewise, and shows the curves
        "tqdm>=4.67",
        "matplotlib>=3.9",  # figures, of files and of report.html
        "jinja2>=3.1.3",  # report.html and model cards; torch needs it as well
        "markupsafe>=2.1.5",  # likewise
    ],
    extras_require={
        "app": ["gradio>=6"],  # `lid-mapmix app`
        "bench": ["cleanlab>=2.9"],  # the other list of suspects in bench/table.py
        "demo": ["babel>=2.14", "espeakng-loader"],  # text and voices of `lid-mapmix prepare demo`
        "docs": ["furo", "myst-parser", "sphinx>=8"],  # `make docs`
        "lhotse": ["lhotse>=1.33"],  # `lid-mapmix prepare lhotse`, `export-manifest --to lhotse`
        "onnx": ["onnx>=1.23.2", "onnxscript>=0.7.2", "onnxruntime>=1.32"],  # `lid-mapmix export --onnx`
        "parquet": ["pyarrow>=17"],  # manifests of millions of rows open in seconds; `lid-mapmix prepare huggingface`
        "peft": ["peft>=0.21.2"],  # adapters (upstream.adapter)
        # torchmetrics to compare with; pandas for a task of S3PRL
        "test": [
            "gradio",
            "hypothesis",
            "lhotse",
            "onnx>=1.23.2",
            "onnxruntime>=1.32",
            "onnxscript>=0.7.2",
            "pandas",
            "peft",
            "pyarrow",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "torchmetrics",
        ],
        "lint": ["import-linter", "mypy", "pre-commit", "ruff", "types-PyYAML", "types-tqdm"],
    },
    entry_points={"console_scripts": ["lid-mapmix = lid_mapmix.apps.cli:main"]},
)
