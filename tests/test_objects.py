"""Cubes, results and responses as objects: pickled, copied, sent away, sliced, and changed by ndcube."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest

import astropy.units as u
from astropy.nddata import StdDevUncertainty
from astropy.time import Time
from ndcube import NDCollection, NDCubeSequence, NDMeta
from sunpy.map import Map

from sunpy_demreg import (
    Status,
    TemperatureResponse,
    combine,
    emission_measure,
    invert,
    mean_temperature,
    prepare,
    prepare_series,
    sample,
    synthesize,
    thermal_energy_density,
)
from sunpy_demreg._batch.batch_invert import BatchReport, Step
from sunpy_demreg._common.cube import Cube, Meta
from sunpy_demreg._common.dask_arrays import is_lazy
from sunpy_demreg._common.metadata import to_text

BINS = 10 ** np.arange(5.6, 7.41, 0.2) * u.K
KINDS = (
    "channels",
    "part",
    "plane",
    "lazy channels",
    "lazy maps",
    "series",
    "combined",
    "result",
    "part of a result",
    "lazy result",
    "result of a series",
    "emission measure",
    "temperature",
    "energy",
    "synthesized",
    "response",
)

pytestmark = pytest.mark.filterwarnings("ignore:.*pixels were not solved")


@pytest.fixture(scope="module")
def patch(cube):
    return cube[:, 30:50, 40:64]


@pytest.fixture(scope="module")
def objects(patch, response, series_folder):
    def lazily(array):
        return da.from_array(array, chunks=(6, 10, 12))

    lazy = Cube(
        lazily(patch.data),
        patch.wcs,
        unit=patch.unit,
        uncertainty=StdDevUncertainty(lazily(patch.uncertainty.array), copy=False),
        mask=lazily(patch.mask),
        meta=patch.meta,
    )
    maps = [Map(da.from_array(m.data, chunks=64), m.meta) for m in sample.aia_maps()]
    series = prepare_series(series_folder, n_sample=16)
    result = invert(patch, response, BINS)
    of_series = invert(series, TemperatureResponse.from_aia(series), BINS)
    return {
        "channels": patch,
        "part": patch[1:4, 2:9, -5:],
        "plane": patch[2],
        "lazy channels": lazy,
        "lazy maps": prepare(maps, n_sample=16),
        "series": series,
        "combined": combine([patch[4], patch[1], patch[3]]),
        "result": result,
        "part of a result": result[2:4, -7:],
        "lazy result": invert(lazy, response, BINS),
        "result of a series": of_series,
        "emission measure": emission_measure(result),
        "temperature": mean_temperature(result),
        "energy": thermal_energy_density(result, 50 * u.Mm),
        "synthesized": synthesize(result, response),
        "response": response,
    }


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, TemperatureResponse):
        assert one == other
        assert one.meta == other.meta
        assert not other.response.flags.writeable
    elif isinstance(one, NDCollection):
        assert list(one) == list(other)
        assert one.aligned_axes == other.aligned_axes
        assert one.n_aligned_axes == other.n_aligned_axes
        assert to_text(one.meta) == to_text(other.meta)
        for key in one:
            assert_same(one[key], other[key])
    else:
        arrays = [(c.data, None if c.uncertainty is None else c.uncertainty.array, c.mask) for c in (one, other)]
        for a, b in zip(*arrays, strict=True):
            assert type(a) is type(b)
            if is_lazy(a):  # Dask names an array by what it is made of
                assert (a.name, a.chunks, a.dtype) == (b.name, b.chunks, b.dtype)
            else:
                np.testing.assert_array_equal(a, b)
        assert one.unit == other.unit
        assert type(one.uncertainty) is type(other.uncertainty)
        assert to_text(one.meta) == to_text(other.meta)
        assert type(one.meta) is type(other.meta)
        assert_same_coordinates(one, other)
        if isinstance(one.meta, NDMeta):
            assert {k: tuple(a) for k, a in one.meta.axes.items()} == {k: tuple(a) for k, a in other.meta.axes.items()}
            assert one.meta.data_shape.tolist() == other.meta.data_shape.tolist() == list(one.shape)


def assert_same_coordinates(one, other):
    a, b = (cube.wcs.low_level_wcs for cube in (one, other))
    for name in ("world_axis_physical_types", "world_axis_units", "world_axis_names"):
        assert list(getattr(a, name)) == list(getattr(b, name))
    pixels = np.random.default_rng(0).uniform(0, np.array(one.shape[::-1])[:, None] - 1, (len(one.shape), 20))
    np.testing.assert_allclose(a.pixel_to_world_values(*pixels), b.pixel_to_world_values(*pixels), rtol=1e-14)


def assert_usable(thing):
    """As it was before it traveled."""
    if isinstance(thing, TemperatureResponse):
        assert thing.select(thing.channels[:2]).response.shape[0] == 2
    elif isinstance(thing, NDCollection):
        assert thing[..., 1:3]["dem"].shape[-1] == 2
        assert thing[-1]["status"].shape == thing["status"].shape[1:]
        assert "DEM inversion" in thing._repr_html_()
        assert thing["dem"] is thing[["dem", "status"]]["dem"]
    else:
        assert thing[0].shape == thing.shape[1:]
        assert thing[-1:].shape == (1, *thing.shape[1:])
        if "channels" in thing.meta and np.ndim(thing.meta["channels"]):
            assert thing[-1].meta["channels"] == thing.meta["channels"][-1]
            assert (thing * 2).rebin((1,) * (thing.data.ndim - 1) + (-1,)).meta["channels"].shape == thing.shape[:1]


# ---- there and back


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_pickled(objects, kind, protocol):
    back = pickle.loads(pickle.dumps(objects[kind], protocol))
    assert_same(objects[kind], back)
    assert_usable(back)


@pytest.mark.parametrize("function", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", KINDS)
def test_copied(objects, kind, function):
    other = function(objects[kind])
    assert other is not objects[kind]
    assert_same(objects[kind], other)
    assert_usable(other)


@pytest.mark.parametrize("kind", ["lazy maps", "series", "lazy result"])
def test_what_is_lazy_computes_the_same_afterwards(objects, kind):
    parts = [
        thing["dem"] if isinstance(thing, NDCollection) else thing[:, ..., :5, :5]
        for thing in (objects[kind], pickle.loads(pickle.dumps(objects[kind])))
    ]
    one, other = dask.compute(*(_arrays(part) for part in parts))
    assert np.isfinite(one[0]).any()
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def _arrays(thing):
    if isinstance(thing, NDCollection):
        return [array for cube in thing.values() for array in _arrays(cube)]
    arrays = (thing.data, getattr(thing.uncertainty, "array", None), thing.mask)
    return [array for array in arrays if array is not None]


@pytest.mark.parametrize("kind", ["channels", "result", "temperature"])
def test_copies_share_arrays_and_deep_copies_do_not(objects, kind):
    for function, shared in ((copy.copy, True), (copy.deepcopy, False)):
        pairs = zip(_arrays(objects[kind]), _arrays(function(objects[kind])), strict=True)
        assert all(np.shares_memory(*pair) == shared for pair in pairs)


def test_a_copy_outlives_its_original(patch, response):
    original = copy.deepcopy(patch)
    other = copy.copy(original)
    other.extra_coords.add("number", 0, np.arange(6) * u.one)
    assert original.extra_coords.is_empty
    assert other.uncertainty.parent_nddata is other
    assert original.uncertainty.parent_nddata is original
    del original
    assert_same(invert(other, response, BINS), invert(patch, response, BINS))


def test_metadata_of_a_copy_are_its_own(patch):
    meta = copy.copy(patch.meta)
    del meta["date"]
    assert "date" in patch.meta.axes
    assert "date" not in meta.axes
    nested = copy.deepcopy(patch)
    nested.meta["steps"].append("more")
    assert "more" not in patch.meta["steps"]


@pytest.mark.parametrize("kind", ["channels", "part", "result", "part of a result", "temperature"])
def test_a_pickle_is_as_large_as_the_arrays(objects, kind):
    thing = objects[kind]
    assert len(pickle.dumps(thing)) < sum(array.nbytes for array in _arrays(thing)) + 40_000


def test_pickling_what_is_lazy_computes_nothing(patch, response):
    calls = []

    def counted(block):
        calls.append(1)
        return block

    import cloudpickle

    data = da.from_array(patch.data, chunks=(6, 10, 12)).map_blocks(counted, dtype=float, meta=np.empty((0, 0, 0)))
    lazy = Cube(data, patch.wcs, unit=patch.unit, uncertainty=patch.uncertainty, mask=patch.mask, meta=patch.meta)
    result = invert(lazy, response, BINS)
    for thing in (lazy, result, result[3:, ..., -4:]):
        back = cloudpickle.loads(cloudpickle.dumps(thing))
        for one, other in zip(_arrays(thing), _arrays(back), strict=True):
            assert getattr(one, "chunks", None) == getattr(other, "chunks", None)
        copy.deepcopy(thing)
    assert not calls
    assert not result["dem"].mask.compute().all()
    assert calls


# ---- in other processes


def worked_on(thing):
    """Something of each kind of object, done where it arrives; and the object, sent back."""
    if isinstance(thing, TemperatureResponse):
        return thing, thing.select(thing.channels[1:3])
    if isinstance(thing, NDCollection):
        return thing, thing[..., 1:3]["dem"]
    return thing, thing[-1:]


def assert_came_back(thing, answer):
    back, work = answer
    expected = worked_on(thing)[1]
    assert_same(thing, back)
    assert_usable(back)
    assert_same(expected, work)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_sent_to_a_process(objects, context):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {context}")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(context)) as pool:
        things = [objects[kind] for kind in KINDS]
        for thing, answer in zip(things, pool.map(worked_on, things), strict=True):
            assert_came_back(thing, answer)


def test_sent_to_a_dask_worker(objects, response):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = {kind: client.submit(worked_on, objects[kind]) for kind in KINDS}
        for kind, future in futures.items():
            assert_came_back(objects[kind], future.result(60))
        inverted = client.submit(invert, objects["channels"], response, BINS).result(60)
        assert_same(objects["result"], inverted)


# ---- indices


@pytest.mark.parametrize(
    "index",
    [
        -1,
        np.int64(2),
        slice(-2, None),
        slice(1, -1),
        slice(2, 100),
        slice(-100, 2),
        slice(4, 1),
        slice(np.int32(1), np.int8(3), 1),
        (),
        (Ellipsis, -3),
        (1, Ellipsis, slice(-4, -1)),
        (slice(None), np.uint8(3)),
        (slice(2, 4), -1, slice(5, 9)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["channels", "lazy channels", "result"])
def test_an_index_means_what_it_means_to_an_array(objects, kind, index):
    thing = objects[kind]
    if isinstance(thing, NDCollection):
        index = index[:-1] if isinstance(index, tuple) and len(index) == 3 else index
        whole = index if isinstance(index, tuple) else (index,)
        part = thing[index]
        for key, cube in thing.items():
            here = whole if cube.data.ndim == 2 else (slice(None), *whole)
            np.testing.assert_array_equal(part[key].data, cube.data[here])
        return
    part, rows = thing[index], index[0] if isinstance(index, tuple) and index else index
    rows = slice(None) if rows is Ellipsis or isinstance(rows, tuple) else rows
    np.testing.assert_array_equal(part.data, thing.data[index])
    np.testing.assert_array_equal(part.uncertainty.array, thing.uncertainty.array[index])
    np.testing.assert_array_equal(part.mask, thing.mask[index])
    for key in ("channels", "exposure_time", "date", "relative_floor"):
        assert np.all(part.meta[key] == thing.meta[key][rows])
        assert np.shape(part.meta[key]) == np.shape(thing.meta[key][rows])
    assert part.meta.data_shape.tolist() == list(part.shape)


BAD_INDICES = {
    "list": ([0, 1, 2], r"ranges such as 2:5, but got \[0, 1, 2\].*drop_channels"),
    "array": (np.array([0, 1]), "but got array"),
    "mask": (np.array([True] * 3 + [False] * 3), "but got array"),
    "list inside": ((slice(None), [1, 2]), r"but got \[1, 2\]"),
    "step": (slice(None, None, 2), r"cannot be sliced in steps.*slice\(None, None, 2\).*`rebin`"),
    "backwards": (slice(None, None, -1), "cannot be sliced in steps"),
    "step of zero": (slice(None, None, 0), "is sliced with whole numbers, but got slice"),
    "new axis": (None, "but got None"),
    "new axis inside": ((slice(None), None), "but got None"),
    "bool": (True, "but got True"),
    "float": (1.0, r"but got 1\.0"),
    "slice of floats": (slice(0.5, 2), "is sliced with whole numbers, but got slice"),
    "two ellipses": ((Ellipsis, Ellipsis), r"only one ellipsis \(\.\.\.\), but got 2"),
    "too large": (100, "index 100 lies outside axis 0"),
    "too small": (-101, "index -101 lies outside axis 0"),
    "too many": ((0, 0, 0, 0, slice(None)), "but got 5 indices"),
}


@pytest.mark.parametrize(("index", "words"), BAD_INDICES.values(), ids=BAD_INDICES.keys())
@pytest.mark.parametrize("kind", ["channels", "plane", "series", "result", "lazy result", "temperature"])
def test_a_refused_index_does_no_damage(objects, kind, index, words):
    before = to_text(objects[kind].meta)
    with pytest.raises(IndexError, match=words):
        objects[kind][index]
    assert to_text(objects[kind].meta) == before
    assert before != to_text({})


def test_no_axis_left(objects):
    with pytest.raises(
        IndexError, match=r"a cube must keep an axis, but \(1, 5, 23\) leaves none.*\[1:2, 5:6, 23:24\]"
    ):
        objects["channels"][1, 5, -1]
    with pytest.raises(
        IndexError, match=r"a result must keep an axis, but \(3, 4\) leaves none: slice with \[3:4, 4:5\]"
    ):
        objects["result"][3, 4]
    with pytest.raises(IndexError, match=r"a cube is sliced.*but got 'dem'"):
        objects["channels"]["dem"]
    with pytest.raises(KeyError, match="edem"):
        objects["result"]["edem"]


def test_threads_slice_one_cube(patch):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        labels = list(pool.map(lambda i: patch[i % 6].meta["channels"], range(400)))
    assert labels == [patch.meta["channels"][i % 6] for i in range(400)]


# ---- changed by ndcube


@pytest.mark.filterwarnings("ignore:.* do not fit")
@pytest.mark.parametrize("kind", ["channels", "lazy channels"])
@pytest.mark.parametrize(
    ("change", "factor"),
    [
        (lambda c: c * 2, 2),
        (lambda c: 3 * c, 3),
        (lambda c: c / 4, 0.25),
        (lambda c: c * (5 * u.s) / (2 * u.s), 2.5),
        (lambda c: c * np.arange(1, 7)[:, None, None], np.arange(1, 7)[:, None, None]),
        (lambda c: c.to(u.DN / u.pix / u.min), 1),
        (lambda c: c[...], 1),
    ],
    ids=["times number", "number times", "over number", "quantity", "array", "unit", "nothing"],
)
def test_arithmetic(objects, response, kind, change, factor):
    cube = objects[kind]
    changed = change(cube)
    expected = invert(
        np.asarray(cube.data) * factor * cube.unit,
        response,
        BINS,
        uncertainty=np.asarray(cube.uncertainty.array) * factor * cube.unit,
        mask=np.asarray(cube.mask),
    )
    result = invert(changed, response, BINS)
    np.testing.assert_allclose(result["dem"].data, expected["dem"].data, rtol=1e-9)
    # What ndcube keeps is how the maps were prepared, not what was done since.
    assert to_text(changed.meta) == to_text(cube.meta)
    assert isinstance(changed, Cube)
    assert_same(pickle.loads(pickle.dumps(changed)), changed)


@pytest.mark.parametrize("change", [lambda c: c * (2 * u.s), lambda c: c / (2 * u.s)])
def test_arithmetic_that_leaves_no_intensity(patch, response, change):
    with pytest.raises(ValueError, match="`data` has the unit"):
        invert(change(patch), response, BINS)


@pytest.mark.parametrize("kind", ["channels", "lazy channels"])
def test_rebinned(objects, response, kind):
    cube = objects[kind]
    binned = cube.rebin((1, 2, 2), propagate_uncertainties=True)
    mean = np.asarray(cube.data).reshape(6, 10, 2, 12, 2).mean(axis=(2, 4))
    error = np.sqrt((np.asarray(cube.uncertainty.array) ** 2).reshape(6, 10, 2, 12, 2).sum(axis=(2, 4))) / 4
    assert not np.asarray(cube.mask).any()
    np.testing.assert_allclose(binned.data, mean, rtol=1e-12)
    np.testing.assert_allclose(binned.uncertainty.array, error, rtol=1e-12)
    assert np.all(binned.meta["channels"] == cube.meta["channels"])
    assert binned[1:3].meta["channels"].tolist() == ["AIA 131", "AIA 171"]
    result = invert(binned, response, BINS)
    expected = invert(mean * cube.unit, response, BINS, uncertainty=error * cube.unit)
    np.testing.assert_allclose(result["dem"].data, expected["dem"].data, rtol=1e-9)
    here = result["dem"].wcs.low_level_wcs.pixel_to_world_values(3, 4, 0)[:2]
    np.testing.assert_allclose(here, cube.wcs.low_level_wcs.pixel_to_world_values(6.5, 8.5, 0)[:2], rtol=1e-10)
    assert_same(pickle.loads(pickle.dumps(binned)), binned)
    assert_same(pickle.loads(pickle.dumps(result)), result)


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 2, 2), (1, 20, 24), (6, 20, 24), (1, 1, 1)])
def test_rebinning_leaves_the_original_alone(patch, shape):
    cube = copy.deepcopy(patch)
    cube.mask[:2, 3, 4] = True
    before = copy.deepcopy(cube)
    cube.rebin(shape, propagate_uncertainties=True)
    assert_same(before, cube)


def test_rebinned_along_the_channels(patch, response):
    with pytest.raises(ValueError, match="6 channels but `data` has 3"):
        invert(patch.rebin((2, 1, 1), propagate_uncertainties=True), response, BINS)


def test_reprojected(patch, response):
    """ndcube keeps neither unit nor uncertainty nor mask: they are given again."""
    target = patch[:, 2:12, 3:11]
    moved = patch.reproject_to(target.wcs, shape_out=target.shape)
    np.testing.assert_allclose(moved.data, target.data, rtol=1e-6)
    assert type(moved.meta) is Meta
    assert np.all(moved.meta["date"] == patch.meta["date"])
    assert moved[-1].meta["channels"] == "AIA 335"
    assert patch.meta.data_shape.tolist() == [6, 20, 24]
    result = invert(moved * (1 * patch.unit), response, BINS, uncertainty=target.uncertainty.array * patch.unit)
    np.testing.assert_allclose(result["dem"].data, invert(target, response, BINS)["dem"].data, rtol=1e-3)
    with pytest.raises(ValueError, match=r"`meta\['channels'\]` has the shape \(6,\) .* now is of shape \(4, 10, 8\)"):
        patch.reproject_to(target.wcs, shape_out=(4, 10, 8))


def test_results_are_reprojected(objects):
    dem = objects["result"]["dem"]
    target = dem[:, 2:12, 3:11]
    np.testing.assert_allclose(dem.reproject_to(target.wcs, shape_out=target.shape).data, target.data, rtol=1e-5)


def test_cropped(objects, response):
    cube = objects["channels"]
    corners = [cube[:, y, x].wcs.low_level_wcs.dropped_world_dimensions["value"] for y, x in ((4, 5), (11, 17))]
    low, high = ([value * u.deg for value in corner] for corner in corners)
    part = cube.crop_by_values([*low, 150 * u.AA], [*high, 250 * u.AA])
    assert part.shape == (3, 8, 13)
    np.testing.assert_array_equal(part.data, cube.data[2:5, 4:12, 5:18])
    assert part.meta["channels"].tolist() == ["AIA 171", "AIA 193", "AIA 211"]
    result = invert(part, response.select(part.meta["channels"]), BINS)
    assert result["dem"].shape == (9, 8, 13)


def test_exploded_and_in_sequence(patch, response):
    planes = [patch[i] for i in range(6)]
    expected = invert(patch, response, BINS)["dem"].data
    for data in (NDCubeSequence(planes), NDCollection([(p.meta["channels"], p) for p in planes], aligned_axes="all")):
        back = pickle.loads(pickle.dumps(data)) if isinstance(data, NDCubeSequence) else data
        np.testing.assert_array_equal(invert(back, response, BINS)["dem"].data, expected)
    exploded = patch.explode_along_axis(0)
    assert [c.shape for c in exploded] == [(20, 24)] * 6
    for i, each in enumerate(exploded):
        assert_same(each, patch[i])
        assert each.meta["channels"] == patch.meta["channels"][i]
    np.testing.assert_array_equal(invert(exploded, response, BINS)["dem"].data, expected)
    assert [c.shape for c in patch.explode_along_axis(-1)] == [(6, 20)] * 24
    result = invert(patch, response, BINS)
    for key in ("dem", "predicted_intensity", "intensity"):  # what each plane is
        cube = result[key]
        for each, plane in zip(cube.explode_along_axis(0), cube, strict=True):
            told = [(one.meta.get("content"), one.meta.get("channels")) for one in (each, plane)]
            assert told[0] == told[1] != (None, None)
    assert patch.meta["channels"].size == 6


# ---- metadata of several channels


def test_only_what_differs_is_per_channel(patch):
    """A list that happens to be as long as there are channels is none of theirs."""
    joint = combine([patch[i] for i in (0, 2, 3)])
    assert len(joint.meta["steps"]) == len(patch.meta["steps"])
    other = copy.deepcopy(patch[4])
    other.meta["steps"], other.meta["note"] = ["a", "b"], {"by": "hand"}
    first = copy.deepcopy(patch[1])
    first.meta["steps"], first.meta["note"] = ["c"], 3
    joint = combine([first, other])
    assert joint.meta["steps"].tolist() == [["c"], ["a", "b"]]
    assert joint[1].meta["steps"] == ["a", "b"]
    assert joint[:1].meta["note"].tolist() == [3]
    assert_same(pickle.loads(pickle.dumps(joint)), joint)
    response = TemperatureResponse.from_aia(joint)
    assert invert(joint, response, BINS).meta["observation"]["note"] == [3, {"by": "hand"}]


def test_chosen_channels(patch):
    """What the refusal of a list of indices advises."""
    chosen = combine([patch[i] for i in (0, 2, 5)])
    np.testing.assert_array_equal(chosen.data, patch.data[[0, 2, 5]])
    np.testing.assert_array_equal(chosen.uncertainty.array, patch.uncertainty.array[[0, 2, 5]])
    assert np.all(chosen.meta["exposure_time"] == patch.meta["exposure_time"][[0, 2, 5]])
    assert chosen.axis_world_coords(0)[0].to_value(u.AA).tolist() == [94, 171, 335]


def test_floors_follow_the_channels():
    cube = prepare(sample.aia_maps(), n_sample=16, relative_floor={171: 0.2})
    assert cube[1:3].meta["relative_floor"].tolist() == [0, 0.2]
    assert cube[2].meta["relative_floor"] == 0.2


# ---- collections


def test_cubes_are_added_to_a_result(objects):
    result = objects["result"].copy()
    em, temperature = objects["emission measure"], objects["temperature"]
    result["em"] = em
    result.update({"temperature": temperature})
    result.update([("again", em)], ((0, 1),))
    result.update(NDCollection([("more", em)], aligned_axes=((0, 1),)))
    result |= {"synthesized": objects["synthesized"]}
    assert list(objects["result"]) == list(result)[: len(objects["result"])]
    assert "em" not in objects["result"].aligned_axes
    part = pickle.loads(pickle.dumps(result))[..., 2:4]
    for key in ("em", "temperature", "again", "more", "synthesized"):
        np.testing.assert_array_equal(part[key].data, result[key].data[..., 2:4])
    assert result.pop("em") is em
    del result["status"]
    assert isinstance(result, NDCollection)
    assert result[3]["dem"].shape == (9, 24)
    joined = objects["result"] | {"em": em}
    assert type(joined) is type(result)
    assert joined[-1]["em"].shape == (24,)
    lazy = objects["lazy result"].copy()
    lazy.pop("status")
    assert lazy[["dem"]][..., 1:]["dem"].shape == (9, 20, 23)


@pytest.mark.parametrize(
    ("key", "change", "error", "words"),
    [
        ("em", lambda cube: cube.data, TypeError, r"a result holds cubes, but `result\['em'\]` would be a ndarray"),
        ("em", lambda cube: cube[1:], ValueError, r"must have the pixels of the result, \(20, 24\).*\(19, 24\)"),
        ("em", lambda cube: cube[1], ValueError, "must have the pixels"),
        (3, lambda cube: cube, TypeError, "names of cubes in a result are strings, but got 3"),
    ],
)
def test_what_a_result_cannot_hold(objects, key, change, error, words):
    result = objects["result"].copy()
    for add in (lambda k, c: result.__setitem__(k, c), lambda k, c: result.update({k: c})):
        with pytest.raises(error, match=words):
            add(key, change(objects["emission measure"]))
    assert list(result) == list(objects["result"])


# ---- small things


def test_reports_and_status(objects):
    step = Step(3, Time("2014-01-01T00:00:05"), "failed", "no file", 1.5)
    report = BatchReport([step], [("a.fits", "cannot be read")])
    for back in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert back == report
        assert type(back.steps[0]) is Step
        assert not back.is_complete
    status = Status.MASKED | Status.SATURATED
    assert pickle.loads(pickle.dumps(status)) is copy.deepcopy(status) is status


def test_responses_are_compared_by_their_numbers(response):
    back = pickle.loads(pickle.dumps(response))
    assert back == response
    assert hash(back) == hash(response)
    assert back != response.select(response.channels[:3])
    doubled = TemperatureResponse(response.channels, response.temperature, 2 * response.response)
    assert doubled != response
    assert response != "response"
    with pytest.raises(ValueError, match="read-only"):
        copy.deepcopy(response).response[0, 0] = response.response[0, 0]


def test_plots_leave_a_cube_fit_for_travel(patch):
    import matplotlib.pyplot as plt

    plane = patch[2]
    plane.plot()
    plt.close("all")
    assert_same(pickle.loads(pickle.dumps(plane)), plane)
