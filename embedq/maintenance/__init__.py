"""The background threads that maintain the queue: heartbeats, rescue, leadership, recurring jobs, pruning.

`membership` registers this process, and rescues the jobs of others that died; `heartbeat` writes that it is alive and
`observation` keeps which others are; `fence` and `contact` end the runs of this process when the database cannot be
reached. `leader` bids for leadership, and as leader fires recurring jobs (`scheduler`) and prunes.

May import all below, and not `worker`. Start reading in `membership.py`, then `leader.py`.
"""
