"""Servers of the sentiment blueprint."""
