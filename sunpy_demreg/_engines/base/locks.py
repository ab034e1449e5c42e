"""Locks that no forked process finds taken by a thread that it does not have."""

import os
from threading import RLock

__all__ = ["lock_over_forks"]


def lock_over_forks():
    """
    Make a lock that a fork waits for, so that the new process has what it guards whole.

    What is done under one must not take another one, or a fork could wait for ever.
    """
    lock = RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
