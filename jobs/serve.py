"""``ray job submit --working-dir . -- python jobs/serve.py role=answerer models=modern``."""

import sys

from mminstruct.job import run

if __name__ == "__main__":
    sys.exit(run("serve", sys.argv[1:]))
