"""The applications that the servers of these tests load: each starts embedq where its framework's docs would.

The database is EMBEDQ_URL. A POST to /run/0.1 enqueues the job `run` of tests/processes/jobs.py with that argument, and
answers with its id.
"""

from __future__ import annotations

from tests.processes import jobs

# What may be enqueued by a request.
TASKS = {task.__name__: task for task in (jobs.run, jobs.work_on, jobs.work_once)}
