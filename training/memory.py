"""Keep freed memory in the process: for programs that allocate large tensors over and over."""

import os
import sys

# glibc returns freed memory to the system after every large tensor, and faulting it in again costs
# up to four times the step. Threads that wait actively would steal from the scan's own threads.
SETTINGS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592",
            "MALLOC_TOP_PAD_": "67108864", "OMP_WAIT_POLICY": "PASSIVE"}


def keep():
    """Starts the program again with SETTINGS, since they are read before main. Call it first."""
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SETTINGS})
