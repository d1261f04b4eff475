"""Components that train models and baselines."""
