"""``ray job submit --working-dir . -- python jobs/build.py out=s3://… source=s3://… models=paper``."""

import sys

from mminstruct.job import leave, run

if __name__ == "__main__":
    leave(run("build", sys.argv[1:]))
