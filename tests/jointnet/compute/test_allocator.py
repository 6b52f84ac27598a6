import os
import subprocess
import sys

import pytest

from jointnet.compute.allocator import ONE_ARENA

TOUCH = """
import resource
import numpy as np
from jointnet.compute.allocator import keep_freed_memory

assert {call}
def errors():
    for _ in range(20):
        np.ones(8 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = errors()
print(errors() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_block_that_was_freed_is_not_zeroed_again():
    """20 blocks of 8 MiB are 40,960 pages of 4 KiB, or 80 of 2 MiB. Blocks that are kept cause no page faults."""
    run = [sys.executable, "-c", TOUCH.format(call="keep_freed_memory()")]
    assert int(subprocess.run(run, check=True, capture_output=True, text=True).stdout) < 20


THREADS = """
import os
import resource
import threading
import numpy as np
from jointnet.compute.allocator import keep_freed_memory

def training():
    keep_freed_memory()
    kept = [np.ones(8 << 20, np.uint8) for _ in range(20)]
def other():
    kept = np.ones(1 << 10, np.uint8)
    over.wait()
def errors():
    thread = threading.Thread(target=training)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
over = threading.Event()
for _ in range(16 * os.cpu_count()):
    threading.Thread(target=other).start()
before = errors()
print(errors() - before)
over.set()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_with_one_arena_a_thread_gets_what_the_thread_before_it_freed():
    """The same, with other threads that would use up all possible arenas, as in a Ray worker."""
    run = [sys.executable, "-c", THREADS]
    environment = {**os.environ, **ONE_ARENA}
    assert int(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout) < 200


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_nothing_happens(monkeypatch, platform):
    from jointnet.compute import allocator

    monkeypatch.setattr(allocator.sys, "platform", platform)
    assert not allocator.keep_freed_memory()
