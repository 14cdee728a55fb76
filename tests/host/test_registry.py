import json
import textwrap

import pytest
from lid_mapmix.host import registry
from lid_mapmix.utils.errors import UserError

# What the eager hub holds beside its upstreams: imports of its hubconf files, and its own function.
HELPERS = {"Path", "FileLock", "load_and_convert_fairseq_ckpt", "options"}

LAZY = """
import importlib, json, pickle, sys, traceback
from lid_mapmix.utils.errors import UserError
from lid_mapmix.host import compat, registry

def fault(action):
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

if __name__ == "__main__":
    registry.check_upstream("fbank")
    light = not {"torch", "s3prl"} & set(sys.modules)
    unregistered = fault(lambda: importlib.import_module("s3prl.downstream.toy.expert"))
    compat.apply()
    for _ in range(2):
        registry.install_lazy_hub()
        registry.register_task("toy", "host.toy_task")
    nothing = not any(name in sys.modules for name in ("s3prl.hub", "host.toy_task"))

    from s3prl import hub
    import s3prl
    dim = hub.fbank().get_downsample_rates("hidden_states")
    from s3prl.downstream.runner import Runner
    modules = set(sys.modules)

    sys.modules["transformers"] = None  # as if it were not installed
    missing = fault(lambda: hub.hf_wav2vec2_custom(ckpt="/"))
    sys.modules["fairseq"] = None
    missing_later = fault(lambda: hub.wav2vec2_custom(__file__ + ".pt", fairseq=True))

    expert = importlib.import_module("s3prl.downstream.toy.expert")
    import host.toy_task.expert as real
    import s3prl.downstream.toy as task

    from torch.utils.data import DataLoader
    loader = DataLoader(expert.Noise(), batch_size=2, collate_fn=expert.collate, num_workers=1,
                        multiprocessing_context="spawn")
    print(json.dumps({
        "light": light, "unregistered": unregistered, "nothing": nothing, "rate": dim,
        "bound": s3prl.hub is hub, "twice": len([f for f in sys.meta_path if type(f).__name__ == "_HostFinder"]),
        "upstreams": sorted({name.split(".")[2] for name in modules if name.startswith("s3prl.upstream.")}),
        "transformers": "transformers" in modules, "dir": dir(hub), "options": hub.options(),
        "registered": hub.options(only_registered_ckpt=True), "unknown": fault(lambda: hub.no_such_upstream),
        "missing": missing, "missing later": missing_later, "still": fault(lambda: hub.fbank()),
        "same": expert is real and task is sys.modules["host.toy_task"] and task.expert is real,
        "spec": real.__spec__.name, "pickled under": expert.Noise.__module__,
        "batches": len(list(loader)),
    }))
"""


@pytest.fixture(scope="module")
def lazy(tmp_path_factory):
    from host.conftest import run_python

    script = tmp_path_factory.mktemp("lazy") / "script.py"
    script.write_text(textwrap.dedent(LAZY))
    return json.loads(run_python(script))


def test_eager_hub_imports_transformers_and_lazy_hub_only_what_is_asked_for(stock, lazy):
    assert stock["transformers"]
    assert not lazy["transformers"]
    assert lazy["upstreams"] == ["baseline", "interfaces"]
    assert lazy["rate"] == 160


def test_lazy_hub_lists_the_names_of_the_eager_one(stock, lazy):
    own = [name for name in registry.HUGGING_FACE if name not in stock["options"]]
    named = [name for name in own if registry.HUGGING_FACE[name]]
    assert set(lazy["dir"]) == (set(stock["callables"]) - HELPERS) | set(own)
    assert lazy["options"] == [name for name in stock["options"] if name not in HELPERS] + own
    assert lazy["registered"] == [name for name in stock["registered"] if name not in HELPERS] + named


def test_a_name_defined_twice_comes_from_where_the_eager_hub_takes_it(stock):
    for name, source in registry._upstream_sources().items():
        assert source in (stock["sources"][name], "s3prl.upstream.vq_apc.hubconf")  # vq_apc_url is apc's, renamed


def test_nothing_is_imported_before_it_is_asked_for(lazy):
    assert lazy["light"] and lazy["nothing"] and lazy["bound"]
    assert lazy["twice"] == 1


def test_unknown_upstream_is_an_attribute_error(lazy):
    assert lazy["unknown"] == "AttributeError: module 's3prl.hub' has no attribute 'no_such_upstream'"


def test_missing_package_is_named_when_the_upstream_is_asked_for(lazy):
    for fault, upstream, package in (
        (lazy["missing"], "hf_wav2vec2_custom", "transformers"),
        (lazy["missing later"], "wav2vec2_custom", "fairseq"),
    ):
        assert fault.startswith("UserError") and upstream in fault and package in fault
    assert lazy["still"] is None


def test_task_is_found_only_once_registered(lazy):
    assert lazy["unregistered"].startswith("ModuleNotFoundError")
    assert lazy["same"]


def test_task_keeps_its_own_module_names_so_that_spawned_workers_find_it(lazy):
    assert lazy["spec"] == "host.toy_task.expert"
    assert lazy["pickled under"] == "host.toy_task.expert"
    assert lazy["batches"] == 2


def test_two_packages_cannot_be_one_task():
    registry.register_task("claimed", "one_package")
    with pytest.raises(ValueError, match="already refers to 'one_package'"):
        registry.register_task("claimed", "another_package")


def test_check_upstream_accepts_every_name_and_suggests_near_ones():
    for name in registry.upstream_names():
        registry.check_upstream(name)
    with pytest.raises(UserError, match="xlsr_53") as caught:
        registry.check_upstream("xlsr53")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="for example fbank"):
        registry.check_upstream("§§§")


def test_filter_banks_are_told_from_upstreams_with_weights():
    names = {name for name in registry.upstream_names() if registry.is_filter_bank(name)}
    assert {"fbank", "mfcc"} <= names
    assert not {"xlsr_53", "hubert", "wavlm_base_plus", "hf_wav2vec2_custom", "apc"} & names
