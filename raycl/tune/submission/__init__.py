"""Submission of studies to a cluster from outside, through the job service of Ray's dashboard.

`dashboard` connects, `sending` makes and sends a job, and `following` prints its log. `entry` is the program
that begins each job on the head.
"""

from raycl.tune.submission.dashboard import check_dashboard_address, connect
from raycl.tune.submission.following import follow
from raycl.tune.submission.sending import Request, cluster_folder, environment_of, submit

__all__ = [
    "Request",
    "check_dashboard_address",
    "cluster_folder",
    "connect",
    "environment_of",
    "follow",
    "submit",
]
