"""The many errors of a GPU whose memory is full, as one."""

from contextlib import contextmanager

__all__ = ["is_out_of_memory", "no_memory_told"]

#: Of errors that are no `MemoryError`, as those of CuPy's pool and of other libraries' pools are.
_SIGNS = (
    "cudaErrorMemoryAllocation",  # of the runtime: streams and events
    "CUDA_ERROR_OUT_OF_MEMORY",  # of the driver: the code of kernels, and what their threads need
    "ALLOC_FAILED",  # of the libraries for linear algebra
)


def is_out_of_memory(err):
    """Whether an error is that of full memory."""
    return isinstance(err, MemoryError) or (isinstance(err, RuntimeError) and any(sign in str(err) for sign in _SIGNS))


@contextmanager
def no_memory_told(what, cure):
    """Raise `MemoryError`, with what there was no memory for and the cure, where memory is full."""
    try:
        yield
    except Exception as err:
        if not is_out_of_memory(err):
            raise
        raise MemoryError(f"the GPU has no memory {what} ({err}): {cure}; the input is unchanged") from err
