"""Several instances that share the accounts: heartbeats, leases, and what they leave each other."""
