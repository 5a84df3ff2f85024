"""`python -m tawtin` is the command `tawtin`."""

from __future__ import annotations

import sys

from tawtin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
