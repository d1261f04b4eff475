"""Segmentation: a predictor for features, a transformer for customers, an explainer for segments."""
