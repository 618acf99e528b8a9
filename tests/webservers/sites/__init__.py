"""The applications that the servers of these tests load: each starts embedq where its framework's docs would.

The database is EMBEDQ_URL. A POST to /run/0.1 enqueues the job `run` of tests/processes/jobs.py with that argument, and
answers with its id.
"""

from __future__ import annotations

from typing import Any

import embedq
from tests.processes import jobs

# What may be enqueued by a request.
TASKS: dict[str, embedq.Task[[float], Any]] = {"run": jobs.run, "work_on": jobs.work_on, "work_once": jobs.work_once}
