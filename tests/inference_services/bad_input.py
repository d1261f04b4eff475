"""The bad rows that every protocol must refuse: what is wrong, the field it names, and a word of the reason."""

from __future__ import annotations

import math
from typing import Any

# Codes as the predictor takes them; the transformer's applications have the labels.
CODES: dict[str, Any] = {
    "credit_limit": 505_000.0,
    "age_of_account": 300,
    "late_payments": 6,
    "education": 3,
    "housing": 1,
    "utilisation": 0.5,
}
APPLICATION: dict[str, Any] = {**CODES, "education": "other", "housing": "rent"}

# As JSON can say it.
BAD_JSON_VALUES = [
    ("credit_limit", "505000"),
    ("credit_limit", True),
    ("credit_limit", None),
    ("credit_limit", [1]),
    ("credit_limit", {}),
    ("credit_limit", 9_999),
    ("credit_limit", 1e300),
    ("age_of_account", 2.5),
    ("age_of_account", 601),
    ("age_of_account", -1),
    ("late_payments", 10**25),
    ("utilisation", 2.5),
    ("utilisation", "0.5"),
]
# As tensors can say it.
BAD_NUMBERS = [
    ("credit_limit", math.nan, "missing"),
    ("credit_limit", math.inf, "finite"),
    ("credit_limit", -math.inf, "finite"),
    ("credit_limit", 9_999.0, "at least 10000 NTD"),
    ("credit_limit", 1e300, "at most 1e"),
    ("age_of_account", 601, "at most 600 months"),
    ("education", 4, "no code"),
    ("education", -1, "no code"),
    ("utilisation", math.inf, "finite"),
    ("utilisation", -0.1, "at least 0"),
]
