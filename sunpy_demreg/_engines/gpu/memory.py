"""The many errors of a GPU whose memory is full, as one."""

from contextlib import contextmanager

__all__ = ["is_out_of_memory", "no_memory_told"]

#: Parts of messages of errors that are no `MemoryError`, unlike those of memory pools.
_SIGNS = (
    "cudaErrorMemoryAllocation",  # of the runtime: streams and events
    "CUDA_ERROR_OUT_OF_MEMORY",  # of the driver: the code of kernels, and what their threads need
    "ALLOC_FAILED",  # of the libraries for linear algebra
)


def is_out_of_memory(err):
    """Whether an error means that memory is full."""
    return isinstance(err, MemoryError) or (isinstance(err, RuntimeError) and any(sign in str(err) for sign in _SIGNS))


@contextmanager
def no_memory_told(what, cure):
    """Raise `MemoryError` if memory is full, with what it was needed for and the cure."""
    try:
        yield
    except Exception as err:
        if not is_out_of_memory(err):
            raise
        raise MemoryError(f"the GPU has no memory {what} ({err}): {cure}; the input is unchanged") from err
