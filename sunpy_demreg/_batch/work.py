"""The work on one time step: from its files to the store; wherever it is done."""

import threading
import warnings

from astropy.wcs import WCS

from sunpy_demreg._batch.create import NOT_STORED
from sunpy_demreg._batch.store import Writer
from sunpy_demreg._channels.lazy_prepare import plan_of, prepare_lazily
from sunpy_demreg._channels.read_maps import NamedMaps
from sunpy_demreg._channels.resample import Grid
from sunpy_demreg._channels.sdoml_cube import completed, cube_of
from sunpy_demreg._channels.sdoml_store import image_in_store
from sunpy_demreg._channels.series import filled, image_of
from sunpy_demreg._common.grids import grid_difference
from sunpy_demreg._files import zarr_documents as documents
from sunpy_demreg._files.inputs import inputs_of, rounded
from sunpy_demreg._files.zarr_read import header_of
from sunpy_demreg._inversion.arguments import as_outputs
from sunpy_demreg._inversion.calibration import cube_with_channel_errors
from sunpy_demreg._inversion.invert import invert
from sunpy_demreg.response import TemperatureResponse

__all__ = ["Work", "work_apart"]


class Work:
    """
    How the steps of a batch are computed.

    Parameters
    ----------
    path : `~pathlib.Path`
        Of the store.
    like : tuple
        Images of a complete step, as in `Task`.
    edges, prepare_options, response_options, options, contents
        As of `sunpy_demreg.batch_invert`.
    choices : Choices or None
        For images of a store, in the place of options of `prepare`.
    """

    def __init__(self, path, like, edges, prepare_options, choices, response_options, options, contents):
        self._path, self._like, self._edges, self._choices = path, like, edges, choices
        self._prepare_options, self._response_options, self._options = prepare_options, response_options, options
        self._contents = contents
        self._first = None
        self.__setstate__(vars(self).copy())

    def __getstate__(self):
        own = _of_a_process()
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state):
        vars(self).update(state | _of_a_process())

    def begin(self, task):
        """As `result`, of the first step: all are put on its grid, or on that of the store."""
        self._first, self._grid = task.images, None
        result = self.result(task.images)
        self._grid = None  # another process may be making the store
        return result

    def result(self, images):
        """The lazy result of a step, of whose images each is a name with a path or a map, or None."""
        if self._choices is not None:
            cube = self._cube_of_store(images)
        else:
            maps = self._maps(images)
            self._find_grid()
            cube = prepare_lazily(maps, self._prepare_options, self._grid, is_first=images == self._first)
        # The data are corrected for the degradation, so that the response is that of all steps.
        channels = tuple(cube.meta["channels"])
        if channels not in self._known:
            self._known = {channels: TemperatureResponse.from_aia(cube, **self._response_options)}
        response, options = self._known[channels], self._options
        if self._contents == "result":
            return invert(cube, response, self._edges, **options)
        ranges = options.get("emission_measure_ranges")
        outputs = [name for name in as_outputs(options.get("outputs"), ranges) if name != "intensity"]
        needed = ("intensity", "regularization_parameter", *(() if ranges is None else ("emission_measure",)))
        # What is stored is what is inverted: with the errors of calibration, and rounded after them.
        cube = rounded(cube_with_channel_errors(cube, options.get("calibration_error")))
        options = options | {"outputs": needed, "calibration_error": None}
        result = invert(cube, response, self._edges, **options)
        return inputs_of(result, outputs, options.get("dtype", "float64"))

    def _cube_of_store(self, images):
        found, like = ([image_in_store(*each) for each in some if each is not None] for some in (images, self._like))
        return cube_of([completed(found, like)], self._choices)[:, 0]

    def _find_grid(self):
        if self._grid is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the first step, which are for itself
                self._grid = self._grid_of_all()

    def _maps(self, images):
        found = [image_of(*item) for item in images if item is not None]
        for image in found:
            if image.problem:
                raise ValueError(f"{image.name}: {image.problem}")
        if None in images:
            found = filled(found, [image_of(*item) for item in self._like])
        return NamedMaps((image.name, image.map) for image in found)

    def _grid_of_all(self):
        """
        The grid of the first step, to the last bit in all processes; or that of the store, if it is another.

        It is if files came late that are earlier than those the store was begun with.
        """
        grid = plan_of(self._maps(self._first), self._prepare_options).plan.grid
        try:
            if not (self._path / documents.JSON).exists():
                return grid
            group = documents.open_store(self._path)
            wcs, shape = WCS(header_of(group)), group["status"].shape[1:]
        except NOT_STORED:  # it is refused later
            return grid
        except OSError as err:  # nobody knows which grid is that of the store
            err.argument = "path"  # not the images, of which others may be good
            raise
        kept = Grid.of_binned(wcs, shape, grid.bin)
        return grid if grid_difference(*grid[:2], *kept[:2], most=1e-6) is None else kept

    def done(self, task, **how):
        """
        Compute and write a step, all but the mark that it is done.

        Parameters
        ----------
        task : Task
        **how
            Where to compute, as of `dask.compute`.

        Returns
        -------
        `collections.Counter`
            As from `counts_of`.
        """
        import dask

        # Python's filters of warnings, which preparing uses, are those of all threads.
        with self._lock:
            result = self.result(task.images)
            self._writer = self._writer or Writer(self._path, has_one_grid=self._choices is None)
            stored = self._writer.store(result, task.slot)
        dask.compute(*stored, **how)
        return self._writer.write_facts(result, task.slot)


def _of_a_process():
    """What each process has for itself, as it is in the beginning."""
    return {"_lock": threading.Lock(), "_writer": None, "_known": {}, "_grid": None}


def work_apart(work, task):
    """As `Work.done`, on one thread of another process; also returns the warnings, which nobody would see there."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counts = work.done(task, scheduler="synchronous")
    return counts, [(each.category, str(each.message)) for each in caught]
