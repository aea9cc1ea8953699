"""From a raw event to a stored message: canonical form, durable inbox, batches into the store."""
