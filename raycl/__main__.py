"""``python -m raycl``, which is the command ``raycl``."""

import sys

from raycl.cli import main

if __name__ == "__main__":
    sys.exit(main())
