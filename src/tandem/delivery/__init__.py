"""Bringing to an endpoint outside what waits for it in the queue, whatever it is."""
