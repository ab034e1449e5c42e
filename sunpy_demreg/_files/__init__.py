"""Results to files and back: FITS, ASDF, Zarr."""
