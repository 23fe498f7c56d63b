"""``ray job submit --working-dir . -- python jobs/bench.py out=s3://… source=s3://… +experiment=…``."""

import sys

from mminstruct.job import exit_process, run

if __name__ == "__main__":
    exit_process(run("bench", sys.argv[1:]))
