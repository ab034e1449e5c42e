"""
As much of CuPy as the engine uses, on the processor at hand: what is tested with it is how the engine calls CuPy.

It keeps what can go wrong: arrays do not turn into NumPy's, nor mix with them; what is queued on a stream happens when
the stream is waited for, not before; memory is limited; kernels are compiled from their source, and run.
"""

import ctypes
import sys
import threading
import time
import types
import weakref
from contextlib import contextmanager

import array_api_compat
import numpy as np
from array_api_compat import numpy as compat
from cuda_on_host import compiled
from numpy.lib.mixins import NDArrayOperatorsMixin

import sunpy_demreg._engines.gpu  # noqa: F401 - from which `gpu` is forgotten

_DEFAULT_SHARED = 48 * 1024
_ONE_AFTER_THE_OTHER = threading.Lock()  # of kernels, which know one block at a time
_ENGINE = ("engine", "launcher", "batches", "page_locked")  # which know the CuPy that they were imported with


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class CompileException(Exception):
    """As CuPy's."""


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class CUDADriverError(RuntimeError):
    """As CuPy's."""


class State:
    """What the device is, and what has happened on it. Memory that is given back is kept in a pool, as CuPy does."""

    def __init__(self):
        self.n_devices, self.capability, self.total = 1, "90", 2**30
        self.used, self.pooled, self.largest_use, self.log = 0, 0, 0, []
        self.stream_needs, self.kernel_needs = 0, 0  # bytes, which are of no pool
        self.shared_optin, self.n_multiprocessors = 227 * 1024, 4
        self.compile_error, self.cannot_register = None, False
        self.default_stream = Stream(is_first=True)
        self._of_thread, self.registered = threading.local(), set()

    @property
    def current(self):
        """Stream of this thread."""
        return getattr(self._of_thread, "stream", self.default_stream)

    @current.setter
    def current(self, stream):
        self._of_thread.stream = stream

    def take(self, size):
        """Of the pool."""
        if self.used + size > self.total:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes")
        self.used += size
        self.pooled = min(max(self.pooled - size, 0), self.total - self.used)
        self.largest_use = max(self.largest_use, self.used)

    def give_back(self, size):
        self.used -= size
        self.pooled += size

    def check_free(self, size, kind, name):
        """Whether the device itself has so much; an error that is raised must not be a variable of this frame."""
        if size > self.total - self.used - self.pooled:
            raise kind(f"{name}: out of memory")


class Stream:
    """A queue: what is in it happens when it is waited for."""

    def __init__(self, non_blocking=False, is_first=False):
        if not is_first:
            state.check_free(state.stream_needs, CUDARuntimeError, "cudaErrorMemoryAllocation")
        self.queue = []

    def __enter__(self):
        self._before = state.current
        state.current = self
        return self

    def __exit__(self, *args):
        state.current = self._before

    def synchronize(self):
        while self.queue:
            self.queue.pop(0)()


def _on_stream(action, stream=None):
    (stream or state.current).queue.append(action)


class Event:
    """A time at which what is in a stream before it has happened."""

    def record(self):
        _on_stream(lambda: setattr(self, "time", time.perf_counter()))
        self.stream = state.current

    def synchronize(self):
        self.stream.synchronize()


class Device:
    """The only one."""

    id = 0

    def __init__(self, number=0):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def __eq__(self, other):
        return isinstance(other, Device)

    __hash__ = None

    @property
    def compute_capability(self):
        return state.capability

    @property
    def mem_info(self):
        return state.total - state.used - state.pooled, state.total

    @property
    def attributes(self):
        return {
            "ClockRate": 1_000_000,
            "MaxSharedMemoryPerBlockOptin": state.shared_optin,
            "MultiProcessorCount": state.n_multiprocessors,
        }

    def synchronize(self):
        state.current.synchronize()


class _Pool:
    """What was given back."""

    def free_bytes(self):
        return state.pooled

    def free_all_blocks(self):
        state.pooled = 0


def _wrap(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_wrap, value))
    return type(value)(map(_wrap, value)) if isinstance(value, tuple | list) else value


def _unwrap(value):
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, ndarray):
        return value._there()
    if isinstance(value, tuple | list):
        return type(value)(map(_unwrap, value))
    return value


class ndarray(NDArrayOperatorsMixin):
    """An array on the device."""

    device = Device()

    def __init__(self, array):
        self._array = np.asarray(array)
        if self._array.base is None:
            state.take(self._array.nbytes)
            weakref.finalize(self._array, state.give_back, self._array.nbytes)

    def _there(self):
        """The numbers, after all that was queued before on the current stream (only)."""
        state.current.synchronize()
        return self._array

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    nbytes = property(lambda self: self._array.nbytes)
    flags = property(lambda self: self._array.flags)
    T = property(lambda self: _wrap(self._array.T))

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        outputs = kwargs.get("out", ())
        result = getattr(ufunc, method)(*_unwrap(inputs), **{k: _unwrap(v) for k, v in kwargs.items()})
        return outputs[0] if outputs else _wrap(result)

    def __array_function__(self, function, types, args, kwargs):
        return _wrap(function(*_unwrap(args), **{k: _unwrap(v) for k, v in kwargs.items()}))

    def __getitem__(self, item):
        parts = item if isinstance(item, tuple) else (item,)
        is_view = all(part is Ellipsis or part is None or isinstance(part, slice | int) for part in parts)
        return _wrap((self._array if is_view else self._there())[_unwrap(item)])

    def reshape(self, *shape):
        return _wrap(self._array.reshape(*shape))

    def nonzero(self):
        return tuple(_wrap(index) for index in self._there().nonzero())

    def __setitem__(self, item, value):
        self._there()[_unwrap(item)] = _unwrap(value)

    def __len__(self):
        return len(self._array)

    def __bool__(self):
        return bool(self._there())

    def __int__(self):
        return int(self._there())

    __index__ = __int__

    def __float__(self):
        return float(self._there())

    def get(self, stream=None, order="C", out=None, blocking=True):
        assert out is None or (out.flags.c_contiguous and self._array.flags.c_contiguous)
        out = np.empty(self.shape, self.dtype) if out is None else out
        _on_stream(lambda: np.copyto(out, self._array), stream)
        if blocking:
            (stream or state.current).synchronize()
        return out

    def set(self, array, stream=None):
        assert (array.shape, array.dtype) == (self.shape, self.dtype)
        assert array.flags.c_contiguous
        _on_stream(lambda: np.copyto(self._array, array), stream)


for _name in ("any", "all", "astype", "copy", "min", "max", "sum", "ravel", "squeeze", "transpose"):

    def _method(self, *args, _name=_name, **kwargs):
        return _wrap(getattr(self._there(), _name)(*_unwrap(args), **kwargs))

    setattr(ndarray, _name, _method)


class RawKernel:
    """The kernel, compiled by the compiler of the host."""

    num_regs = local_size_bytes = 0

    def __init__(self, code, name, options=()):
        self.code, self.name = code, name
        self._shared = _DEFAULT_SHARED

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        if state.compile_error:
            raise CompileException(state.compile_error)
        compiled(self.code, self.name)
        assert size <= state.shared_optin
        self._shared = size

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert shared_mem <= self._shared
        assert block[0] <= 1024
        assert len(grid) == 2
        assert 0 < grid[0] < 2**31
        assert 0 < grid[1] < 2**16
        state.check_free(state.kernel_needs, CUDADriverError, "CUDA_ERROR_OUT_OF_MEMORY")
        values = [self._argument(arg) for arg in args]
        launch, stream = compiled(self.code, self.name), state.current

        def run(args=args):  # which live until then
            pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            with _ONE_AFTER_THE_OTHER:
                assert launch(*grid, block[0], pointers, shared_mem), "more shared memory was used than asked for"

        state.log.append((self.name, grid, stream))
        _on_stream(run)

    @staticmethod
    def _argument(arg):
        if isinstance(arg, ndarray):
            assert arg.flags.c_contiguous
            return ctypes.c_void_p(arg._array.ctypes.data)
        if isinstance(arg, np.ndarray):  # of one element, which CuPy passes by value
            assert arg.shape == ()
            return (ctypes.c_char * arg.nbytes).from_buffer_copy(arg)
        assert type(arg) is int  # which CuPy takes for a long long
        return ctypes.c_longlong(arg)


def _module(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def _from_numpy(module, name, hidden=()):
    """The functions of a module of NumPy, on these arrays."""

    def of_module(attribute):
        function = getattr(module, attribute)
        if attribute in hidden:
            raise AttributeError(attribute)
        if not callable(function) or isinstance(function, type):
            return function

        def call(*args, device=None, **kwargs):
            return _wrap(function(*_unwrap(args), **{k: _unwrap(v) for k, v in kwargs.items()}))

        return call

    return _module(name, __getattr__=of_module)


def asarray(a, dtype=None, **kwargs):
    """From the host, or as it is."""
    return _wrap(np.array(a._there() if isinstance(a, ndarray) else a, dtype=dtype))


def empty(shape, dtype=float, **kwargs):
    """Nothing yet: so it holds what nobody could take for an answer."""
    return ndarray(np.full(shape, 77, dtype))


# What array-api-compat makes of CuPy.
_namespace = _from_numpy(compat, "array_api_compat.cupy")
vars(_namespace).update(asarray=asarray, linalg=_from_numpy(compat.linalg, "array_api_compat.cupy.linalg"))
state = None


@contextmanager
def installed(monkeypatch):
    """As the modules ``cupy`` and ``cupyx``, and what array-api-compat makes of them; with a new device."""
    global state
    state = State()
    runtime = _module(
        "runtime",
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=_device_count,
        getDeviceProperties=lambda number: {"name": b"stand-in"},
        hostRegister=_register,
        hostUnregister=_unregister,
    )
    cuda = _module(
        "cupy.cuda",
        Device=Device,
        Event=Event,
        Stream=Stream,
        get_elapsed_time=lambda begin, end: 1e3 * (end.time - begin.time),
        set_allocator=lambda allocator: None,
        get_current_stream=lambda: state.current,
        memory=_module("memory", OutOfMemoryError=OutOfMemoryError),
        compiler=_module("compiler", CompileException=CompileException),
        runtime=runtime,
    )
    cupy = _from_numpy(np, "cupy")
    vars(cupy).update(
        __version__="0",
        ndarray=ndarray,
        asarray=asarray,
        empty=empty,
        RawKernel=RawKernel,
        cuda=cuda,
        asnumpy=lambda a: a.get(),
        get_default_memory_pool=_Pool,
    )
    for name, module in (("cupy", cupy), ("array_api_compat.cupy", _namespace)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(array_api_compat, "cupy", _namespace, raising=False)
    forget_engine(monkeypatch)
    yield state
    for name in _ENGINE:
        sys.modules.pop(f"sunpy_demreg._engines.gpu.{name}", None)
        vars(sys.modules["sunpy_demreg._engines.gpu"]).pop(name, None)


def forget_engine(monkeypatch):
    """So that it is imported again."""
    for name in _ENGINE:
        monkeypatch.delitem(sys.modules, f"sunpy_demreg._engines.gpu.{name}", raising=False)
        monkeypatch.delattr(sys.modules["sunpy_demreg._engines.gpu"], name, raising=False)


def _device_count():
    if not state.n_devices:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return state.n_devices


def _register(pointer, size, flags):
    if state.cannot_register:
        raise CUDARuntimeError("cudaErrorNotSupported: operation not supported")
    assert pointer not in state.registered
    state.registered.add(pointer)


def _unregister(pointer):
    state.registered.discard(pointer)
