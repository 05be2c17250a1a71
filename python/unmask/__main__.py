"""``python -m unmask`` is the command line, for environments whose scripts are not on PATH."""

import sys

from unmask.cli import main

sys.exit(main())
