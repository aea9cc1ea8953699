"""From an accepted message to a known fate: dispatcher, pacing, reconciliation."""
