"""Sentiment: a text classifier from labelled sentences to a model package, and what serves it."""

MODEL_NAME = "sentiment"
