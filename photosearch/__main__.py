"""`python -m photosearch` is the same program as `photosearch` and `python app.py`."""

import sys

from photosearch.cli import main

if __name__ == "__main__":
    sys.exit(main())
