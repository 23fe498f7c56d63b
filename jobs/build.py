"""``ray job submit --working-dir . -- python jobs/build.py out=s3://… source=s3://… models=paper``."""

import sys

from mminstruct.job import exit_process, run

if __name__ == "__main__":
    exit_process(run("build", sys.argv[1:]))
