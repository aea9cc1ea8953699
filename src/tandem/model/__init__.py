"""Values: what the other rooms talk about. Frozen, no I/O, no clock, no chance."""
