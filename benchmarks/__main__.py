"""``python -m benchmarks``, in the folder of the repository."""

import sys

from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
