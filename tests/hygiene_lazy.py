"""A module that a step imports when it first runs, and that changes the process, as `load_dotenv()`
and the like do."""

from __future__ import annotations

import decimal
import os
import sys

os.environ["HYGIENE_OF_A_MODULE"] = "stays"
sys.path.append("/hygiene/of/a/module")
decimal.getcontext().prec = 77
