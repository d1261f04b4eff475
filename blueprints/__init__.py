"""What each blueprint *is*: plain Python, importable without Kubeflow Pipelines or KServe."""
