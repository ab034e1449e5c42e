"""Batches: many time steps into one Zarr store."""
