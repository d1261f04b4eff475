"""The benchmark of the segmentation blueprint."""
