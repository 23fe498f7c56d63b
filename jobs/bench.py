"""``ray job submit --working-dir . -- python jobs/bench.py out=s3://… source=s3://… +experiment=…``."""

import sys

from mminstruct.job import leave, run

if __name__ == "__main__":
    leave(run("bench", sys.argv[1:]))
