"""How far images are shifted against each other, by phase correlation."""

import numpy as np

__all__ = ["residual_shifts"]

_WIDTH = 1.0  # pixels: standard deviation of the peak, once the highest frequencies, mostly noise, are damped
_REACH = 8  # pixels: what the pointing of an image may be off
_SIGNIFICANT = 10  # standard deviations: 13 and more between channels of an active region, 9 at most of chance peaks


def residual_shifts(images, mask):
    """
    Measure how far images of one grid are shifted against the first.

    The cross-power spectrum of two images, normalized to its phases, is that of a peak at the shift between
    them (Kuglin & Hines 1975, Proc. Int. Conf. on Cybernetics and Society, 163). Damped by a Gaussian, the peak
    is one too, and a parabola through the logarithm of its neighborhood finds it to a fraction of a pixel.

    Parameters
    ----------
    images : `numpy.ndarray`
        (n, y, x); their logarithms are compared.
    mask : `numpy.ndarray` of bool
        (n, y, x), True where not to be used.

    Returns
    -------
    `numpy.ndarray`
        (n, 2): along x and y, how far an image has to be moved to match the first. NaN where no
        significant one within 8 pixels is to be found, as where much is saturated.
    """
    shape = images.shape[1:]
    if min(shape) < 4 * _REACH:
        return np.full((len(images), 2), np.nan)
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    damping = np.exp(-2 * (np.pi * _WIDTH) ** 2 * (fx**2 + fy**2))
    window = np.hanning(shape[0])[:, None] * np.hanning(shape[1])
    spectra = [np.fft.rfft2(_flattened(*each) * window) for each in zip(images, mask, strict=True)]
    shifts = [(0.0, 0.0)]
    for spectrum in spectra[1:]:
        cross = spectra[0] * spectrum.conj()
        size = np.abs(cross)
        phases = np.divide(cross, size, out=np.zeros_like(cross), where=size > 0)
        shifts.append(_peak(np.fft.irfft2(phases * damping, shape)))
    return np.array(shifts)


def _flattened(image, mask):
    """Logarithm of an image, less its mean, which unlike the image itself is not one bright kernel."""
    is_good = ~mask & (image > 0)
    if not is_good.any():
        return np.zeros_like(image)
    logarithm = np.log(np.where(is_good, image, image[is_good].min()))
    return np.where(is_good, logarithm - logarithm[is_good].mean(), 0)


def _peak(correlation):
    """Where it is highest, (x, y), counted from the corner with the axes closed to a ring."""
    near = np.roll(correlation, (_REACH, _REACH), axis=(0, 1))[: 2 * _REACH + 1, : 2 * _REACH + 1]
    y, x = np.unravel_index(near.argmax(), near.shape)
    is_inside = 0 < y < 2 * _REACH and 0 < x < 2 * _REACH
    if not (
        is_inside and near[y, x] > _SIGNIFICANT * correlation.std() and near[y - 1 : y + 2, x - 1 : x + 2].min() > 0
    ):
        return np.nan, np.nan
    return x - _REACH + _vertex(near[y, x - 1 : x + 2]), y - _REACH + _vertex(near[y - 1 : y + 2, x])


def _vertex(values):
    """Vertex of the parabola through the logarithms of three values, from the middle one."""
    before, middle, after = np.log(values)
    return 0.5 * (before - after) / (before - 2 * middle + after)
