"""Locks that are never held in a forked process by a thread that does not exist there."""

import os
from threading import RLock

__all__ = ["lock_over_forks"]


def lock_over_forks():
    """
    Make a lock that a fork waits for, so that the state it guards is consistent in the new process.

    Code that holds one must not take another, or a fork could deadlock.
    """
    lock = RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
