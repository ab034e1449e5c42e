"""Where temperature responses come from: the constructors of `sunpy_demreg.TemperatureResponse`."""

__all__ = ["Sources"]


class Sources:
    """The constructors, apart from the class itself for the length of what they have to explain."""

    @classmethod
    def from_arrays(cls, channels, temperature, response, meta=None):
        """
        Make a response of tabulated values.

        Parameters
        ----------
        channels, temperature, response, meta
            As of the class, which also says what must hold for them.

        Returns
        -------
        TemperatureResponse

        Raises
        ------
        TypeError, ValueError
            As the class does.

        Examples
        --------
        >>> import astropy.units as u
        >>> from sunpy_demreg import TemperatureResponse
        >>> TemperatureResponse.from_arrays(
        ...     ["soft", "hard"], [1, 3, 10] * u.MK, [[2, 9, 1], [0, 4, 8]] * u.Unit("1e-27 DN cm5 / (pix s)")
        ... ).channels
        ('soft', 'hard')
        """
        return cls(channels, temperature, response, {} if meta is None else meta)

    @classmethod
    def from_aia(
        cls,
        cube_or_channels,
        obstime=None,
        *,
        eve=True,
        crosstalk=True,
        degradation=True,
        chiantifix=False,
        emissivity=None,
        correction_table=None,
    ):
        """
        Compute the responses of AIA channels, without any download.

        The wavelength response of `aiapy.response.Channel`, from the instrument components of SolarSoft that
        are bundled, is folded with the bundled spectrum of CHIANTI 9.0.1 (coronal abundances of Feldman 1992,
        constant pressure of 1e15 K cm-3), per unit of the emission measure of electrons and hydrogen.

        Parameters
        ----------
        cube_or_channels : `ndcube.NDCube` or `~astropy.units.Quantity`
            A channel cube, see `sunpy_demreg.prepare`, or the wavelengths of EUV channels: 94, 131, 171, 193,
            211, 304 or 335 Å, as a Quantity or a list of them.
        obstime : `astropy.time.Time` or any date that `sunpy.time.parse_time` reads, optional
            Date whose degradation the response is to have, not to be given with ``degradation=False``. By default
            the mean date of the cube, and for bare channels none: the response is then that of the launch.
        eve : `bool`, optional
            Normalize the effective areas to the spectra of SDO/EVE. The same factors at all dates, from 0.955
            (94 Å) to 1.630 (304 Å).
        crosstalk : `bool`, optional
            Include the light that 94 and 304 Å, and 131 and 335 Å, get of each other. It is up to 93 % of
            the response at 335 Å, at log T = 7.1.
        degradation : `bool`, optional
            Whether the response degrades with time as the instrument does. Pass `False` for data corrected for
            degradation.
        chiantifix : `bool`, optional
            Add SolarSoft's empirical correction of the response at 94 Å, for lines that CHIANTI lacks around log T = 6.
            It also takes 23.5 % off the hot peak, so that it is off by default.
        emissivity : tuple or ``"xrtpy"``, optional
            Spectra to fold instead of the bundled ones: ``(temperature, wavelength, spectrum)``, Quantities of the
            shapes (n,), (m,) and (n, m), the last in photon cm3 / (s sr Angstrom); they are summed over their
            wavelengths, whose spacing is the width of the bins. Or CHIANTI 10 as xrtpy carries it (coronal
            abundances, density 1e9 cm-3), up to 400 Å. Beyond the end of a spectrum the bundled one is taken.
            The response then has the temperatures of this one.
        correction_table : path or `astropy.table.Table`, optional
            Response table of SolarSoft that gives the normalization to EVE and the degradation: a file, or what
            `aiapy.calibrate.utils.get_correction_table` returns. By default the bundled table V10.

        Returns
        -------
        TemperatureResponse
            Channels named ``"AIA 94"`` and so on in the order given, at log T = 4, 4.05 ... 9 for the bundled
            spectra, in DN cm5 / (pix s).

        Raises
        ------
        TypeError
            If the channels have no unit, or ``correction_table`` is neither a path nor a table.
        ValueError
            If a channel is not an EUV channel of AIA, ``obstime`` is not one date or lies outside the table, or
            the table cannot be used; if ``obstime`` is given with ``degradation=False``; and if the cube is
            already corrected for degradation while the response is to be degraded: correct the data or date the
            response, never both.

        Warns
        -----
        sunpy.util.exceptions.SunpyUserWarning
            If the date is later than the bundled table, and if a given spectrum ends below 830 Å.

        Notes
        -----
        Normalized to EVE or not, it equals the response of SolarSoft's V10 within 5e-5 from log T = 5 to 8 in
        all channels. Of that, 3.4e-5 is the rounded value of hc in SolarSoft.

        The bundled table is V10 as of October 2020. Its factors are constant after 2020-06-01. Compared with
        them, those of the older V8 of December 2017 are off, in the six channels of a DEM, by up to 10 % at
        2011-02-15 (94 Å), 19 % at 2014-01-01 (335 Å) and 49 % at 2020-01-01 (211 Å, and 48 % at 193 Å); that of
        304 Å is off by 91 % at the last of these dates.

        References
        ----------
        Boerner et al. 2012, Sol. Phys., 275, 41; Boerner et al. 2014, Sol. Phys., 289, 2377.
        """
        from sunpy_demreg.response._aia import aia_response

        return cls(
            **aia_response(
                cube_or_channels,
                obstime,
                eve=eve,
                crosstalk=crosstalk,
                degradation=degradation,
                chiantifix=chiantifix,
                emissivity=emissivity,
                correction_table=correction_table,
            )
        )

    @classmethod
    def from_suvi(cls, channels, spacecraft=16, *, ccd_temperature=-60.0, exposure_type="long", emissivity=None):
        """
        Compute the responses of GOES/SUVI, from the effective areas of sunkit-instruments.

        Parameters
        ----------
        channels : `~astropy.units.Quantity`
            Wavelengths among 94, 131, 171, 195, 284 and 304 Å.
        spacecraft : `int`, optional
            16, 17, 18 or 19.
        ccd_temperature : `float`, optional
            Temperature of the detector in °C, on which its gain depends.
        exposure_type : `str`, optional
            ``"long"``, ``"short_flare"``, or for 94 and 131 Å ``"short"``, which decides on the filter.
        emissivity : tuple or ``"xrtpy"``, optional
            As of `from_aia`.

        Returns
        -------
        TemperatureResponse
            Channels named ``"SUVI 94"`` and so on, in DN cm5 / (pix s). (Images of level 1b and 2 are in units of
            radiance, and have to be converted back.)

        Raises
        ------
        ImportError
            If sunkit-instruments is not installed.
        TypeError, ValueError
            If an argument is none of those above.
        """
        from sunpy_demreg.response._instruments import suvi_response

        return cls(**suvi_response(channels, spacecraft, ccd_temperature, exposure_type, emissivity))

    @classmethod
    def from_xrt(cls, filters, obstime):
        """
        Compute the responses of Hinode/XRT with xrtpy, which folds CHIANTI 10 with coronal abundances.

        Parameters
        ----------
        filters : sequence of `str`
            Such as ``"Be-thin"``, ``"Al-poly"`` or ``"Al-poly/Ti-poly"``.
        obstime : `astropy.time.Time` or any date that `sunpy.time.parse_time` reads
            The date of the contamination.

        Returns
        -------
        TemperatureResponse
            Channels named ``"XRT Be-thin"`` and so on, at log T = 5, 5.05 ... 8, in DN cm5 / (pix s).

        Raises
        ------
        ImportError
            If xrtpy is not installed.
        ValueError
            If there is no such filter, or ``obstime`` is not a date that xrtpy covers.
        """
        from sunpy_demreg.response._instruments import xrt_response

        return cls(**xrt_response(filters, obstime))

    @classmethod
    def from_sav(cls, path):
        """
        Read a response that IDL saved.

        Parameters
        ----------
        path : `str` or `~pathlib.Path`
            A file with what SolarSoft's ``aia_get_response(/temperature)`` returns, under any name
            (``tr = aia_get_response(/temp, /dn) & save, tr, file='tr.sav'``), or with the variables ``logt``, ``tr``,
            ``channels`` and ``units``, as the files that come with DEMREG have them.

        Returns
        -------
        TemperatureResponse
            A channel named ``A94`` there is ``"AIA 94"`` here. Nothing is known of degradation or the normalization
            to EVE but what the file says.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds something else.
        """
        from sunpy_demreg.response._files import read_sav

        return cls(**read_sav(path))

    @classmethod
    def read(cls, path):
        """
        Read a response from an ECSV file that `write` wrote, or a table like it.

        Parameters
        ----------
        path : `str` or `~pathlib.Path`
            A table with a column ``temperature`` and one of every channel, with their units.

        Returns
        -------
        TemperatureResponse

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no such table.
        """
        from sunpy_demreg.response._files import read

        return cls(**read(path))

    @classmethod
    def concatenate(cls, responses):
        """
        Put the channels of several responses, for instance of several instruments, into one.

        Parameters
        ----------
        responses : sequence of `TemperatureResponse`
            In units that convert to that of the first, of channels that are all different.

        Returns
        -------
        TemperatureResponse
            At all temperatures of any of them within the range that they share, interpolated as by `at`.

        Raises
        ------
        TypeError
            If something else was given.
        ValueError
            If units or temperatures have nothing in common, or channels have the same name.
        """
        from sunpy_demreg.response._instruments import concatenated

        return cls(**concatenated(responses))
