"""``python -m segloop``: the command line."""

import sys

from segloop.cli import main

sys.exit(main())
