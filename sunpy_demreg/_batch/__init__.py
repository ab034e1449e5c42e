"""Many times into one store."""
