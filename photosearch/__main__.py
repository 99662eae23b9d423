"""`python -m photosearch` is the same program as `photosearch` and `python app.py`."""

import sys


def main() -> int:
    """Run the command line; Ctrl+C while its modules load is Ctrl+C, too."""
    try:
        from photosearch.cli import INTERRUPTED
        from photosearch.cli import main as run
    except KeyboardInterrupt:
        return 130
    try:
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
