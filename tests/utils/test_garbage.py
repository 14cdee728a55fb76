"""Garbage collection: what is left out of it."""

from helpers.launching import ROOT, run_python


def test_nothing_is_collected_when_the_process_ends():
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0, len(gc.get_objects()) < 1_000))\n"
        "from lid_mapmix.utils.garbage import collect_none_at_exit; collect_none_at_exit()"
    )
    assert run_python("-c", code, path=[ROOT / "downstream"]).stdout.split() == ["True", "True"]
