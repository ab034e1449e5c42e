"""What runs in a process of its own: see `sunpy_demreg._bench._process.run_task`."""

import json
import sys
import warnings
from importlib import import_module
from pathlib import Path

__all__ = ["main"]

_HOMES = {
    "compare_codes": "_codes",
    "sweep": "_codes",
    "single_pixel": "_latency",
    "first_call": "_latency",
    "full_disk": "_disk",
    "memory": "_disk",
    "profile": "_profile",
}


def main(specification):
    """Run the task that a JSON text names, and write what it returns."""
    specification = json.loads(specification)
    from sunpy_demreg._bench._process import pin, stop_network

    # Before NumPy and others count the cores.
    pin(specification["cores"])
    stop_network()
    warnings.simplefilter("ignore")  # of peers and headers: the report counts what was not solved
    name = specification["task"]
    task = getattr(import_module(f"sunpy_demreg._bench.{_HOMES[name]}"), name)
    answer = task(cores=specification["cores"], **specification["arguments"])
    Path(specification["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
