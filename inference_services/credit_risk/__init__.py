"""Credit risk: a predictor for tensors, a transformer for applications, an explainer for decisions."""
