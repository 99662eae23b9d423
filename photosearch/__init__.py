"""Private photo search that runs on the owner's own machine."""

__version__ = "0.1.0"
