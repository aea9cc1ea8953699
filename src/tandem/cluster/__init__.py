"""More than one instance: leases and regions."""
