"""The whole credit-risk service from the overlay that ships: decisions, explanations, and a restart."""

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx

from blueprints.workspace import Workspace
from localcluster.service import LocalService

OVERLAY = Path(__file__).parents[2] / "kustomize" / "overlays" / "local"
APPLICATION = {
    "credit_limit": 50_000,
    "age_of_account": 12,
    "late_payments": 6,
    "education": "high school",
    "housing": "rent",
    "utilisation": 1.2,
}


def test_the_service_decides_explains_and_recovers(credit_package, tmp_path):
    events = []

    async def scenario():
        service = LocalService.from_overlay(
            "credit-risk",
            OVERLAY,
            model_dir=credit_package.folder,
            port=0,
            workspace=Workspace(tmp_path),
            on_event=events.append,
        )
        async with service, httpx.AsyncClient(timeout=10) as client:
            begun = time.monotonic()
            await service.wait_ready(60)
            started_s = time.monotonic() - begun
            transformer, explainer = service.urls["transformer"], service.urls["explainer"]

            answer = await client.post(f"{transformer}/predict", json=APPLICATION)
            assert answer.status_code == 200, answer.text
            decision = answer.json()
            assert decision["model_version"] == credit_package.version
            assert 0 <= decision["probability_of_default"] <= 1

            request = {"instances": [APPLICATION]}
            answer = await client.post(f"{explainer}/v1/models/credit-risk:explain", json=request)
            assert answer.status_code == 200, answer.text
            assert "reasons" in answer.text

            predictor = next(each for each in service.status() if each.name == "credit-risk-predictor")
            os.kill(predictor.pid, signal.SIGKILL)
            while service.status()[0].pid in {predictor.pid, None}:  # noqa: ASYNC110  # a pid has no event
                await asyncio.sleep(0.05)
            await service.wait_ready(60)
            answer = await client.post(f"{transformer}/predict", json=APPLICATION)
            assert answer.json()["probability_of_default"] == decision["probability_of_default"]
            return started_s

    started_s = asyncio.run(scenario())
    assert started_s < 30
    assert any(event.happening == "exited" and "SIGKILL" in event.message for event in events)
    assert (tmp_path / "decisions.db").is_file()
    assert not (tmp_path / "services" / "credit-risk" / "state.json").exists()
