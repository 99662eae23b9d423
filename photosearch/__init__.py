"""Private photo search that runs on the owner's own machine."""

import os

# Before numpy is loaded, or it is too late. OpenBLAS starts a thread for each core, and after
# every product these spin for some 30 ms in the hope of more: of a search's processor time that
# was two thirds, while one thread reads the same vectors as fast (docs/experiments-query.md).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
