"""Credit risk: explainable scoring of credit applications."""

MODEL_NAME = "credit-risk"
