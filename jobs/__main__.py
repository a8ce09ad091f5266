"""Run `python -m jobs COMMAND` where `deepprune` is not installed, such as in a Ray job."""

import sys

from jobs.cli import main

sys.exit(main())
