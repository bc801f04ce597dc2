"""`python -m effcalc`, for where the command is not on the path."""

import sys

from effcalc.cli.main import main

sys.exit(main())
