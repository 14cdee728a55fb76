"""``python -m lid_mapmix``: the console command, for a Python whose scripts are not on the path."""

import sys

from .apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
