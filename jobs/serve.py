"""``ray job submit --working-dir . -- python jobs/serve.py role=answerer models=modern``."""

import sys

from mminstruct.job import leave, run

if __name__ == "__main__":
    leave(run("serve", sys.argv[1:]))
