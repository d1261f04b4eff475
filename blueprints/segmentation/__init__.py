"""Customer segmentation: named, stable segments of customers, from a warehouse and back to it."""

MODEL_NAME = "segmentation"
