"""Roll a candidate out by a canary that is watched."""

from kfp.dsl import Metrics, Output

from components import component


@component
def rollout_candidate(
    metrics: Output[Metrics],
    service: str,
    package: str,
    namespace: str,
    started_by: str = "pipeline",
    config: str = "",
    prometheus_url: str = "",
    tracking_uri: str = "",
) -> str:
    """Gives a candidate traffic step by step, and promotes it or rolls it back.

    Fails if it does not end promoted; the candidate then stays for inspection, without traffic. Started again while the
    rollout is under way, it goes on with it. Its pod needs the rights of the kustomize component `rollout-engine`.

    Args:
        metrics: Requests, error rates and latency ratios of both versions.
        service: The stable InferenceService.
        package: The candidate's model package: version, alias, number or storage URI.
        namespace: Namespace of the service.
        started_by: Who or what starts it, for the promotion log.
        config: YAML of steps, waits, limits and error levels; production defaults if empty.
        prometheus_url: Prometheus that scrapes the service's pods; the pods' own `/metrics` are read if empty.
        tracking_uri: MLflow's store, where the alias `champion` moves; the environment's if empty.

    Returns:
        Storage URI that the stable service serves from now on.
    """
    import yaml

    from blueprints.governance.registry import Registry
    from blueprints.governance.rollout.adapters.assembly import ServiceRollout
    from blueprints.governance.rollout.adapters.cluster import Cluster
    from blueprints.governance.rollout.config import RolloutConfig
    from blueprints.governance.rollout.summary import summary

    steps = RolloutConfig.checked(yaml.safe_load(config) or {})
    registry = Registry(tracking_uri or None)
    rollout = ServiceRollout.of(Cluster.connect(namespace), service, registry=registry, prometheus=prometheus_url)
    rollout.start(package, steps, by=started_by)
    state = rollout.work()
    for name, figure in summary(state).flat().items():
        metrics.log_metric(name, figure)
    if state.phase != "promoted":
        raise RuntimeError(f"the candidate was not promoted ({state.phase}): {state.reason}")
    return state.rollout.candidate_model
