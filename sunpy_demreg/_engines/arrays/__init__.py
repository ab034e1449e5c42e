"""The engine on plain arrays, of any library that keeps to the Python array API."""
