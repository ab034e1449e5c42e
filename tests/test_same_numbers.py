"""The same numbers, to the last bit, of a pixel, a slice, a block of Dask arrays and the whole; on any processor."""

import ast
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from lazy_cubes import lazily

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from ndcube import NDCube

import sunpy_demreg as demreg
from sunpy_demreg._channels.resample import block_mean
from sunpy_demreg._common.sums import contract
from sunpy_demreg._inversion.dn2dem_pos import _rescale
from sunpy_demreg._results.images import emission_measure_image
from sunpy_demreg.response._emissivity import fold, load_emissivity

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels were not solved")

PACKAGE = Path(demreg.__file__).parent
RANGE = [0.9, 3.3] * u.MK
SEEN = demreg.TemperatureResponse.from_arrays(
    ["cool", "hot"], [1e5, 1e6, 1e8] * u.K, [[3e-26, 1e-25, 1e-28], [1e-28, 1e-26, 3e-25]] * u.Unit("DN cm5 / (pix s)")
)
PRODUCTS = {
    "emission measure": lambda result: demreg.emission_measure(result, RANGE),
    "of all bins": demreg.emission_measure,
    "mean temperature": lambda result: demreg.mean_temperature(result, RANGE),
    "of resolved bins": demreg.mean_temperature,
    "energy": lambda result: demreg.thermal_energy_density(result, 30 * u.Mm, RANGE),
    "synthesis": lambda result: demreg.synthesize(result, SEEN),
}
OPTIONS = {
    "defaults": {},
    "numpy": {"backend": "numpy"},
    "float32": {"dtype": "float32"},
    "grid": {"parameter_choice": "grid", "n_samples": 20},
    "constrain": {"positivity": "constrain", "weighting": "em_loci", "n_refinements": 1},
    "own weight": {"weighting": np.linspace(1, 2, 12), "positivity": "ignore"},
    "l2": {"method": "l2", "parameter_choice": "gcv"},
}
PARTS = {
    "a pixel": np.s_[7:8, 4:5],
    "another": np.s_[12:13, 16:17],
    "a row": np.s_[3:4, :],
    "a column": np.s_[:, 5:6],
    "odd": np.s_[2:9, 3:14],
    "one axis": np.s_[6, 2:15],
}


@pytest.fixture(scope="module")
def edges():
    return 10 ** np.arange(5.6, 7.41, 0.15) * u.K


def in_order(cube, order):
    arrays = cube.data, cube.mask, cube.uncertainty.array
    data, mask, sigma = (np.asarray(array, order=order) for array in arrays)
    uncertainty = StdDevUncertainty(sigma, copy=False)
    return NDCube(data, cube.wcs, unit=cube.unit, mask=mask, uncertainty=uncertainty, meta=cube.meta)


def arrays_of(product):
    return product.data, product.uncertainty.array, product.mask


def assert_equal(product, expected):
    for array, other in zip(arrays_of(product), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(array), other)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_of_parts(part, response, edges, options, product):
    result = demreg.invert(part, response, edges, **options)
    whole = arrays_of(product(result))
    assert np.count_nonzero(np.isfinite(whole[0])) > 150
    assert np.count_nonzero(whole[1] > 0) > 150
    for here in PARTS.values():
        assert_equal(product(result[here]), [array[..., *here] for array in whole])


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
@pytest.mark.parametrize("chunks", [(6, 13, 17), (6, 5, 4), (6, 1, 17), (2, 4, 9), ((6,), (2, 11), (1, 16))])
@pytest.mark.filterwarnings("ignore:.*chunked along its channels")
def test_products_of_blocks_stay_lazy(part, response, edges, chunks, product):
    whole = arrays_of(product(demreg.invert(part, response, edges)))
    lazy = product(demreg.invert(lazily(part, chunks), response, edges))
    assert all(isinstance(array, da.Array) for array in arrays_of(lazy))
    assert [array.dtype for array in arrays_of(lazy)] == [array.dtype for array in whole]
    assert_equal(lazy, whole)


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_of_other_memory_layouts(part, response, edges, product):
    result = demreg.invert(part, response, edges)
    whole = arrays_of(product(result))
    assert_equal(product(demreg.invert(in_order(part, "F"), response, edges)), whole)
    for cube in result.values():  # the result itself, too
        cube.data = np.asfortranarray(cube.data)
    assert_equal(product(result), whole)
    data, mask, sigma = (a.transpose(0, 2, 1) for a in (part.data, part.mask, part.uncertainty.array))
    uncertainty, meta = StdDevUncertainty(sigma, copy=False), {"channels": part.meta["channels"]}
    turned = NDCube(data, part.wcs, unit=part.unit, uncertainty=uncertainty, mask=mask, meta=meta)
    assert_equal(product(demreg.invert(turned, response, edges)), [np.swapaxes(array, -1, -2) for array in whole])


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
@pytest.mark.parametrize("suffix", ["fits", "zarr", "asdf"])
def test_products_of_files(part, response, edges, product, suffix, tmp_path):
    result = demreg.invert(part, response, edges)
    demreg.write(result, tmp_path / f"result.{suffix}")
    found = demreg.read(tmp_path / f"result.{suffix}")
    assert found.meta["backend"] == "cpu"
    assert_equal(product(found), arrays_of(product(result)))


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"float32"}))  # whose range ends below a covariance
def test_matrices_of_a_pixel_are_those_of_the_inversion(part, response, edges, name):
    options = OPTIONS[name]
    outputs = ("dem", "dem_uncertainty", "covariance", "resolution_matrix", "intensity")
    result = demreg.invert(part, response, edges, outputs=outputs, **options)
    lazy = demreg.invert(lazily(part, (6, 5, 4)), response, edges, **options)
    for pixel in ((0, 0), (7, 4), (12, 16)):
        for key in ("covariance", "resolution_matrix"):
            expected = result[key].data[..., *pixel]
            for of in (result, lazy):
                np.testing.assert_array_equal(getattr(demreg, key)(of, pixel).value, expected)
        np.testing.assert_array_equal(demreg.em_loci(lazy, pixel), demreg.em_loci(result, pixel))
        row = result[pixel[0]]
        np.testing.assert_array_equal(demreg.em_loci(row, pixel[1]), demreg.em_loci(result, pixel))
        np.testing.assert_array_equal(demreg.covariance(row, pixel[1]), demreg.covariance(result, pixel))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_errors_are_those_of_the_inversion(part, response, edges, options):
    ranges = u.Quantity([RANGE, edges[[0, -1]]])
    result = demreg.invert(part, response, edges, emission_measure_ranges=ranges, **options)
    expected = result["emission_measure"].uncertainty.array
    for i, pair in enumerate(ranges):
        error = demreg.emission_measure(result, pair).uncertainty.array
        np.testing.assert_array_equal(error.astype(expected.dtype), expected[i])
    error = demreg.emission_measure(result, resolved_only=False).uncertainty.array
    np.testing.assert_array_equal(error.astype(expected.dtype), expected[1])


def test_nothing_is_computed_for_a_lazy_product(part, response, edges):
    def explode(block):
        raise RuntimeError("computed")

    lazy = lazily(part, (6, 5, 9))
    data = lazy.data.map_blocks(explode, meta=np.empty((0, 0, 0)))
    lazy = NDCube(data, lazy.wcs, unit=lazy.unit, meta=lazy.meta, mask=lazy.mask, uncertainty=lazy.uncertainty)
    result = demreg.invert(lazy, response, edges)
    for make in PRODUCTS.values():
        product = make(result)[..., 2:7, 3:]
        assert repr(product)
        assert str(product)
        assert product.uncertainty.unit == product.unit
        for array in arrays_of(product):
            with pytest.raises(RuntimeError, match="computed"):
                array.compute()


def test_lazy_products_become_maps_datasets_and_pictures(part, response, edges):
    eager = demreg.invert(part, response, edges)
    lazy = demreg.invert(lazily(part, (6, 5, 9)), response, edges)
    maps = [demreg.to_map(PRODUCTS["mean temperature"](each)) for each in (lazy, eager)]
    maps += zip(*(demreg.to_map(PRODUCTS["synthesis"](each)) for each in (lazy, eager)), strict=True)
    for one, other in [maps[:2], *maps[2:]]:
        for array in (one.data, one.mask, one.uncertainty.array):
            assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(one.data, other.data)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.uncertainty.array, other.uncertainty.array)
        assert one.meta["content"] == other.meta["content"]
    one, other = (demreg.to_xarray(each) for each in (lazy, eager))
    assert all(isinstance(one[name].data, da.Array) for name in one.data_vars)
    for name in other.data_vars:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])
    pictures = [demreg.visualization.plot_mean_temperature(each, RANGE).get_array() for each in (lazy, eager)]
    np.testing.assert_array_equal(*pictures)


def test_depth_of_each_pixel(part, response, edges):
    depth = np.random.default_rng(2).uniform(5, 50, part.shape[1:]) * u.Mm
    result = demreg.invert(part, response, edges)
    whole = arrays_of(demreg.thermal_energy_density(result, depth))
    lazy = demreg.invert(lazily(part, (6, 5, 9)), response, edges)
    assert_equal(demreg.thermal_energy_density(lazy, depth), whole)
    for here in PARTS.values():
        found = demreg.thermal_energy_density(result[here], depth[here])
        assert_equal(found, [array[here] for array in whole])


@pytest.mark.parametrize("shape", [(36,), (36, 1), (36, 7), (36, 1, 1), (36, 5, 3), (36, 3, 20000), (36, 20000, 2)])
def test_contract(shape):
    rng = np.random.default_rng(0)
    array, functionals = rng.normal(size=shape), rng.normal(size=(3, 36))
    whole = contract(functionals, array)
    expected = np.zeros((3, *shape[1:]))
    for q in range(3):
        for j in range(36):
            expected[q] += functionals[q, j] * array[j]
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(contract(functionals, np.asfortranarray(array)), whole)
    np.testing.assert_array_equal(contract(functionals[1:2], array)[0], whole[1])
    lazy = contract(functionals, da.from_array(array, chunks=(5, *(max(n // 3, 1) for n in shape[1:]))))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy, whole)
    np.testing.assert_array_equal(
        contract(functionals, array.astype(np.float32)), contract(functionals, array.astype(np.float32).astype(float))
    )


def test_images_of_pictures(part, response, edges):
    result = demreg.invert(part, response, edges)
    whole = emission_measure_image(result, RANGE)
    np.testing.assert_array_equal(whole, demreg.emission_measure(result, RANGE).data)
    for name in ("a pixel", "a row", "odd"):
        np.testing.assert_array_equal(emission_measure_image(result[PARTS[name]], RANGE), whole[PARTS[name]])


@pytest.mark.parametrize("size", [2, 3, 4, 8, 16])
def test_means_of_squares(size):
    planes = np.random.default_rng(1).lognormal(size=(4, 48, 96))
    whole = block_mean(planes, size)
    np.testing.assert_allclose(whole, planes.reshape(4, 48 // size, size, 96 // size, size).mean((2, 4)), rtol=1e-13)
    np.testing.assert_array_equal(block_mean(np.asfortranarray(planes), size), whole)
    for y, x in ((0, 0), (48 // size - 1, 2)):
        square = planes[:, y * size : (y + 1) * size, x * size : (x + 1) * size]
        np.testing.assert_array_equal(block_mean(square, size)[:, 0, 0], whole[:, y, x])
    np.testing.assert_array_equal(block_mean(planes[1:2, :, size:], size), whole[1:2, :, 1:])


def test_response_of_a_temperature_alone():
    emissivity = load_emissivity()
    wavelength, response = [160, 171, 180] * u.AA, [0, 1, 0] * u.cm**2
    whole = fold(emissivity, wavelength, response)
    for i in (0, 7, 40):
        one = emissivity._replace(
            temperature=emissivity.temperature[i : i + 1], spectrum=emissivity.spectrum[i : i + 1]
        )
        np.testing.assert_array_equal(fold(one, wavelength, response), whole[i : i + 1])


def test_rescaling_of_many_channels():
    rng = np.random.default_rng(3)
    dn, edn, dn_reg = rng.uniform(1, 2, (3, 11, 200))
    whole_dem = np.ones((4, 200))
    chi_squared = _rescale(dn, edn, whole_dem, whole_dem.copy(), dn_reg.copy(), np.ones(200, bool))
    np.testing.assert_allclose(whole_dem[0], np.mean(dn / dn_reg, axis=0), rtol=1e-14)
    for i in range(200):
        here, dem = np.s_[:, i : i + 1], np.ones((4, 1))
        one = _rescale(dn[here], edn[here], dem, dem.copy(), dn_reg[here].copy(), np.ones(1, bool))
        assert one[0] == chi_squared[i]
        np.testing.assert_array_equal(dem, whole_dem[here])


# ---- by construction

MODULES = (
    "_results/*.py",
    "sunkit.py",
    "_inversion/dn2dem_pos.py",
    "_common/sums.py",
    "_channels/resample.py",
    "response/_bins.py",
    "response/_emissivity.py",
    "response/_interpolation.py",
    "response/_spectra.py",
    "visualization/*.py",
)
BLAS = {"dot", "vdot", "inner", "outer", "matmul", "tensordot", "einsum", "kron", "linalg", "convolve", "correlate"}
SUMS = {"sum", "mean", "average", "std", "var", "cumsum", "prod", "nansum", "nanmean", "trapezoid", "median", "reduce"}
ALLOWED = {
    # Sums of arrays in Python's own order, elementwise.
    ("_channels/resample.py", "block_mean", "sum"),
    ("_inversion/dn2dem_pos.py", "_rescale", "sum"),
    # Of the steps of a table of the caller's, the same for all pixels.
    ("response/_spectra.py", "_as_emissivity", "mean"),
    # Over all pixels that a region is made of, which are the same however it is computed.
    ("_channels/resample.py", "squared_weights", "sum"),
    # Of whole numbers.
    ("_results/unsolved.py", "counts_of", "prod"),
    ("visualization/_dem.py", "_as_pixels", "prod"),
    # How many pixels in a hundred, for the caption: a mean of zeros and ones is exact.
    ("visualization/_pages.py", "_poor_fits", "mean"),
    # For the notebook: of the whole image, as it is shown.
    ("_results/html.py", "result_html", "median"),
}


def calls_in(tree, function=""):
    """What a file calls or multiplies that sums: its name, with that of the function it is in."""
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef) else function
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            yield inside, "@"
        match node:
            case ast.Attribute(attr=name) | ast.alias(name=name) | ast.Call(func=ast.Name(id=name)):
                if name.split(".")[-1] in BLAS | SUMS:
                    yield inside, name
        yield from calls_in(node, inside)


def test_no_sum_follows_the_shape_or_the_processor():
    found = set()
    for pattern in MODULES:
        paths = sorted(PACKAGE.glob(pattern))
        assert paths, pattern
        for path in paths:
            name = path.relative_to(PACKAGE).as_posix()
            found |= {(name, *call) for call in calls_in(ast.parse(path.read_text(encoding="utf-8")))}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "np.tensordot(f, a, 1)",
        "f @ a",
        "a @= b",
        "from numpy import einsum",
        "a.dot(b)",
        "np.linalg.norm(a)",
        "a.sum(0)",
    ],
)
def test_the_search_finds_them(text):
    assert list(calls_in(ast.parse(text)))
