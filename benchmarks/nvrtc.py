"""What NVIDIA's compiler makes of a kernel, without a GPU: NVRTC of the package ``nvidia-cuda-nvrtc-cu12``."""

import ctypes
import importlib.metadata
import re
from typing import NamedTuple


class Report(NamedTuple):
    """Of the only kernel of a source."""

    registers: int
    stack: int  # bytes per thread, indexed arrays and spilled registers
    spilled: int  # bytes, stores and loads
    size: int  # bytes of machine code


def compile_kernel(source, architecture):
    """Compile to machine code of an architecture ("sm_90"), with warnings as errors."""
    library = _library()
    program = ctypes.c_void_p()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None))
    options = [f"--gpu-architecture={architecture}", "--std=c++14", "--ptxas-options=-v"]
    options.append("--diag-suppress=177")  # of variables that nothing reads, of which generated text has some
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    try:
        failed = library.nvrtcCompileProgram(program, len(options), array)
        log = _text(library, program)
        # That an architecture is old is no matter.
        if failed or any("warning" in line and "Architectures prior" not in line for line in log.splitlines()):
            raise RuntimeError(f"NVRTC on {architecture}: {log}")
        size = ctypes.c_size_t()
        _check(library, library.nvrtcGetCUBINSize(program, ctypes.byref(size)))
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    stack, stores, loads = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", log).groups()
    registers = re.search(r"Used (\d+) registers", log).group(1)
    return Report(int(registers), int(stack), int(stores) + int(loads), size.value)


def _library():
    name = "nvidia-cuda-nvrtc-cu12"
    path = next(f for f in importlib.metadata.files(name) if f.name.startswith(("libnvrtc.so", "nvrtc64_")))
    return ctypes.CDLL(str(path.locate()))


def _check(library, result):
    if result:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(library.nvrtcGetErrorString(result).decode())


def _text(library, program):
    size = ctypes.c_size_t()
    _check(library, library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(library, library.nvrtcGetProgramLog(program, text))
    return text.value.decode()
