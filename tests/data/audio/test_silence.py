"""What libmpg123 says is discarded, and nothing else."""

import ctypes
import os
import sys
import threading

import pytest
from lid_mapmix.data.audio.silence import silent_decoder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the C variable has another name")


def say(text):
    """Write to C's stderr, as a library does."""
    library = ctypes.CDLL(None)
    library.fputs(text.encode(), ctypes.c_void_p.in_dll(library, "stderr"))


def test_c_is_silent_and_python_is_not(capfd):
    say("before ")
    with silent_decoder():
        say("within ")
        print("python", end=" ", file=sys.__stderr__, flush=True)
        with silent_decoder():
            say("twice ")
        say("still ")
    say("behind")
    assert capfd.readouterr().err == "before python behind"


def test_the_last_of_several_threads_restores_it(capfd):
    entered, leave = threading.Barrier(9), threading.Event()

    def work():
        with silent_decoder():
            entered.wait()
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    entered.wait()
    say("within ")
    leave.set()
    for thread in threads:
        thread.join()
    say("behind")
    assert capfd.readouterr().err == "behind"


def test_a_forked_process_is_not_silent(capfd):
    with silent_decoder():
        child = os.fork()
        if child == 0:
            say("child")
            os._exit(0)
        os.waitpid(child, 0)
    assert capfd.readouterr().err == "child"
