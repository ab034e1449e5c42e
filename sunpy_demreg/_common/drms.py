"""drms, which aiapy imports, without what it does to the logging of everybody."""

import logging
import sys
from importlib import import_module

__all__ = ["load_drms"]


def load_drms():
    """
    Import drms before aiapy does.

    It calls `logging.basicConfig`. The handler of that would print whatever other loggers pass on, such as that of
    sunpy, whose warnings then come twice. So it becomes that of the messages of drms only.
    """
    if "drms" in sys.modules:
        return
    root = logging.getLogger()
    level, before = root.level, list(root.handlers)
    try:
        import_module("drms")
    except ImportError:  # aiapy tells what is missing
        return
    own = logging.getLogger("drms")
    for handler in [each for each in root.handlers if each not in before]:
        own.setLevel(root.level)
        root.removeHandler(handler)
        own.addHandler(handler)
    root.setLevel(level)
