"""
How often the loops of the GPU's ``solve`` turn: for a pixel, and for the slowest of the 32 that a warp waits for.

    python benchmarks/gpu_turns.py

It needs no GPU, but the whole package, for the rows of a real image. Prints the table of the GPU page, and writes it to
``docs/_tables/gpu_turns.rst``.
"""

import ctypes
import re
import warnings

import numpy as np
from gpu_on_host import on_host
from gpu_pixels import ROOT, pixels
from reporting import file_with_table

import sunpy_demreg as demreg

N_PIXELS, N_BINS, N_WARP = 2**14, 41, 32
# In the order of the kernel's text.
LOOPS = {
    "defaults": ("λ of the first solution", "λ", "relaxing", "λ while relaxing"),
    'method="lognormal"': ("λ of the prior mean", "passes", "logarithmic rows", "length and λ of a pass"),
}


def main():
    images = {"random order": pixels(N_PIXELS), "rows of the sample": rows(), "smooth": smooth()}
    table = []
    for method, names in LOOPS.items():
        found = {image: turns(method, *given) for image, given in images.items()}
        for k, name in enumerate(names):
            cells = [f"{found[image][k].reshape(-1, N_WARP).max(axis=1).mean():.1f}" for image in images]
            option = f"``{method}``" if "=" in method else method
            table.append((option, name, f"{found['random order'][k].mean():.2f}", *cells))
    head = ("options", "turns of the loop", "per pixel, mean", *(f"of a warp, {image}" for image in images))
    text = file_with_table("benchmarks/gpu_turns.py", head, table)
    print(text)
    (ROOT / "docs" / "_tables" / "gpu_turns.rst").write_text(text, encoding="utf-8")


def turns(method, g, sigma):
    """(loops, pixels), of the loops that depend on the data."""
    counts = np.zeros((8, g.shape[1]), np.int32)

    def edit(text):
        names = re.findall(r"for \(int (turn\d+) = 0;", text)
        for k, name in enumerate(names):
            text = re.sub(rf"(for \(int {name} = 0;[^{{]*\{{)", rf"\g<1> ++turns[{k} * n_pixels + pixel];", text)
        return text

    with on_host(N_BINS, method, g, sigma, edit=edit) as (library, pointers, _):
        library.run(pointers, ctypes.c_long(g.shape[1]), counts.ctypes.data_as(ctypes.c_void_p))
    return counts


def rows():
    """Neighbors of the bundled sample, row by row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels that are bad: they are left out
        cube = demreg.prepare(demreg.sample.aia_maps(), n_sample=4)
    good = np.all(cube.data > 0, axis=0) & ~np.any(cube.mask, axis=0)
    some = [a[:, good][:, :N_PIXELS] for a in (cube.data, cube.uncertainty.array)]
    n_pixels = some[0].shape[1] // N_WARP * N_WARP
    return tuple(np.ascontiguousarray(a[:, :n_pixels], float) for a in some)


def smooth():
    """Each stored pixel often enough to fill a warp."""
    return tuple(np.ascontiguousarray(a[:, : N_PIXELS // N_WARP].repeat(N_WARP, axis=1)) for a in pixels(N_PIXELS))


if __name__ == "__main__":
    main()
