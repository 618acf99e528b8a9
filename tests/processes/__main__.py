"""`python -m tests.processes PROGRAM ARGUMENTS-AS-JSON`."""

import json
import logging
import sys

from tests.processes import forks, programs, skew

logging.basicConfig(format="%(asctime)s %(process)d %(threadName)s %(levelname)s %(message)s")
skew.set_the_clock()
program = getattr(programs, sys.argv[1], None) or getattr(forks, sys.argv[1])
program(**json.loads(sys.argv[2]))
