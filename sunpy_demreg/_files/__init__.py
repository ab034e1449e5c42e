"""Reading and writing of results: FITS, ASDF, Zarr."""
