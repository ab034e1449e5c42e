"""``python -m benchmarks``, in the folder of the repository."""

import sys

from benchmarks.command import chosen_parts, parser
from benchmarks.running import Setting, run

__all__ = ["main"]


def main(arguments=None):
    """
    Run the command.

    Returns
    -------
    `int`
        The exit status: 1 for bad input, for what is missing, and for a wrong answer.
    """
    options = parser().parse_args(arguments)
    try:
        parts = chosen_parts(options.parts, options.baseline)
        repeats = options.repeats or (2 if options.quick else 5)
        setting = Setting(options.quick, repeats, lambda line: print(line, flush=True), options.baseline)
        for path in run(parts, setting, options.output):
            print(f"{'written':>15}  {path}")
    except (OSError, ValueError, ImportError, MemoryError, RuntimeError) as err:
        print(f"benchmarks: error: {str(err) or type(err).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
