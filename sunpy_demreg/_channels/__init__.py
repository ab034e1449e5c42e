"""From maps and other inputs to one cube of channels, and from cubes to plain channel-first arrays."""
