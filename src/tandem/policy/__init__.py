"""Decisions. Pure: state, input and now go in; state and a decision with a reason in words come out."""
