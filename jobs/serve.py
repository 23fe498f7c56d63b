"""``ray job submit --working-dir . -- python jobs/serve.py role=answerer models=modern``."""

import sys

from mminstruct.job import exit_process, run

if __name__ == "__main__":
    exit_process(run("serve", sys.argv[1:]))
