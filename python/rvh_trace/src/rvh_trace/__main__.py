"""``python -m rvh_trace``: the command ``rvh_trace``."""

import sys

from rvh_trace.command import main

sys.exit(main())
