"""``ray job submit --working-dir . -- python jobs/train.py out=s3://… data.path=s3://… train=llava_7b``."""

import sys

from mminstruct.job import exit_process, run

if __name__ == "__main__":
    exit_process(run("train", sys.argv[1:]))
