"""Measurements; each module's docstring says of what, and how to run it."""

import photosearch as photosearch  # before numpy is loaded: it holds OpenBLAS to one thread
