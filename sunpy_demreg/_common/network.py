"""Downloads with a time limit, and one error that names the argument for a local file."""

import threading

from sunpy_demreg._common.errors import ArgumentError

__all__ = ["CalibrationDataError", "fetched"]

TIME_LIMIT = 60.0  # s


class CalibrationDataError(ArgumentError, RuntimeError):
    """
    Calibration data could not be fetched; the message names the argument that takes them from a local file.

    Examples
    --------
    >>> import sunpy_demreg as demreg
    >>> maps = demreg.sample.flare_maps(0)
    >>> try:
    ...     cube = demreg.prepare(maps, pointing_table="lmsal")  # doctest: +SKIP
    ... except demreg.CalibrationDataError:
    ...     cube = demreg.prepare(maps)  # with the pointing of the headers
    """


def fetched(what, argument, function, *args, **kwargs):
    """
    Call a function that downloads, with the time limit `TIME_LIMIT`.

    Parameters
    ----------
    what : str
        What it fetches, for the message.
    argument : str
        The argument that takes a local file or table instead.
    function, *args, **kwargs
        What to call.

    Returns
    -------
    object
        What the function returns.

    Raises
    ------
    CalibrationDataError
        If the function fails, in whatever way, or does not return in time.
    """
    outcome = {}

    def call():
        try:
            outcome["value"] = function(*args, **kwargs)
        except BaseException as err:
            outcome["error"] = err

    # Not every client respects socket timeouts, and a call cannot be stopped from outside: one that hangs is left to a
    # daemon thread.
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(TIME_LIMIT)
    if "value" in outcome:
        return outcome["value"]
    error = outcome.get("error")
    reason = (
        f"no answer within {TIME_LIMIT:g} s" if error is None else " ".join(str(error).split()) or type(error).__name__
    )
    raise CalibrationDataError(
        argument, f": {what} could not be fetched ({reason}): pass a local file or table"
    ) from error
