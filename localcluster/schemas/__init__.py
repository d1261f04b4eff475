"""Strict schemas of every kind that this project uses."""
