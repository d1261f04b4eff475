"""Measurements of the blueprints, each beside its baseline in the same run."""
