"""What the tests of whole runs share: a tiny corpus, and one Map-Mix run on it."""

import shutil
import signal

import pytest
from hypothesis import settings

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

# What takes long. It comes first, or one worker would be left with a part of it while the others have ended.
LONG = (
    *("tests/apps/runs/test_launch", "tests/bench/", "tests/apps/leaderboard/", "tests/config/test_stock_s3prl"),
    *("tests/apps/runs/", "tests/test_documents", "tests/host/"),
)
# Files that share what a worker makes once, and are therefore for one worker.
TOGETHER = (("tests/apps/leaderboard/",), ("tests/host/test_compat", "tests/host/test_registry"))


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: next((at for at, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            files = next((files for files in TOGETHER if nodeid.startswith(files)), None)
            return files[0] if files else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # by the number of tests
    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Let Ctrl-C interrupt: a shell without job control starts commands in the background with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Matrices of a few rows are multiplied faster by one thread, and pytest-xdist has the other cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Return the folder of a corpus of four classes in two clusters; not to be changed."""
    from helpers.synthetic import make_corpus

    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def own_corpus(corpus, tmp_path):
    """Return a copy of the corpus that a test may spoil."""
    return shutil.copytree(corpus, tmp_path / "data")


@pytest.fixture(scope="session")
def trained(corpus, tmp_path_factory):
    """Return the folder of a complete Map-Mix run without reports; not to be changed."""
    from helpers.launching import train

    folder = tmp_path_factory.mktemp("runs") / "mapmix"
    assert train(corpus, folder) == 0
    return folder


@pytest.fixture
def own_run(trained, tmp_path):
    """Return a copy of that run that a test may change."""
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def no_pickles(monkeypatch):
    """Let whatever unpickles fail."""
    import pickle

    import torch

    def refuse(*arguments, **keywords):
        raise AssertionError("something was unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return an empty Hugging Face Hub on this machine, which this process uses."""
    from helpers.hub import connect, running_hub

    with running_hub() as server:
        connect(server, tmp_path / "huggingface", monkeypatch)
        yield server
