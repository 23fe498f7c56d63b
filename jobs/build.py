"""``ray job submit --working-dir . -- python jobs/build.py out=s3://… source=s3://… models=paper``."""

import sys

from mminstruct.cli import hydra

if __name__ == "__main__":
    sys.exit(hydra("build", sys.argv[1:]))
