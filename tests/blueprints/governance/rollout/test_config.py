"""The configuration of a rollout: what cannot work is refused with the field and the reason."""

from __future__ import annotations

import pytest

from blueprints.governance.rollout.config import ConfigError, Outcome, RolloutConfig


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    file = tmp_path / "rollout.yaml"
    file.write_text(
        "steps: [{weight: 10, wait_s: 60}, {weight: 40}]\nerror_margin: 0.03\non_inconclusive: pause\n",
        encoding="utf-8",
    )
    config = RolloutConfig.from_yaml(file)
    assert [(step.weight, step.wait_s) for step in config.steps] == [(10, 60), (40, 300)]
    assert (config.error_margin, config.on_inconclusive) == (0.03, Outcome.PAUSE)
    assert config.min_requests == RolloutConfig().min_requests
    file.write_text("", encoding="utf-8")
    assert RolloutConfig.from_yaml(file) == RolloutConfig()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps: []", "the first step leaves traffic to stable"),
        ("steps: [{weight: 100}]", "the first step leaves traffic to stable"),
        ("steps: [{weight: 50}, {weight: 25}]", "ascend"),
        ("steps: [{weight: 0}]", "steps.0.weight"),
        ("steps: [{weight: 5, wait: 3}]", "steps.0.wait"),
        ("error_margin: 0.01", "error_margin is above error_tolerance"),
        ("step_limit_s: 300", "longer than the wait"),
        ("p50_ration: 2", "p50_ration"),
        ("false_rollback: 0", "false_rollback"),
        ("- 1", "dictionary"),
        ("steps: [", "rollout.yaml"),
    ],
)
def test_what_cannot_work_is_refused_with_file_field_and_reason(tmp_path, text, problem):
    file = tmp_path / "rollout.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rollout\.yaml") as refused:
        RolloutConfig.from_yaml(file)
    assert problem in str(refused.value)


def test_steps_of_the_command_line_replace_the_others():
    config = RolloutConfig.laptop().with_steps((10, 50), wait_s=3)
    assert [(step.weight, step.wait_s) for step in config.steps] == [(10, 3), (50, 3)]
    assert config.interval_s == RolloutConfig.laptop().interval_s
    with pytest.raises(ConfigError, match="ascend"):
        config.with_steps((50, 10), wait_s=3)
