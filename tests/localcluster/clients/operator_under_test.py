"""An operator of the usual kind: finalizer, status, events, a daemon and a timer."""

import kopf

KIND = ("serving.kserve.io", "v1beta1", "inferenceservices")


@kopf.on.startup()
def configure(settings, **_):
    settings.peering.standalone = True
    settings.networking.error_backoffs = [0.1, 0.2, 0.5]
    settings.posting.enabled = True
    settings.watching.server_timeout = 30
    # A custom resource keeps only the fields that its schema has.
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="kopf.dev")


@kopf.on.create(*KIND)
def created(body, patch, **_):
    kopf.event(body, type="Normal", reason="Seen", message="by the operator")
    patch.status["url"] = "http://created.localhost"


@kopf.on.update(*KIND, field="spec.predictor.minReplicas")
def scaled(new, patch, **_):
    patch.status["url"] = f"http://scaled-to-{new}.localhost"


@kopf.on.delete(*KIND)
def deleted(body, **_):
    kopf.event(body, type="Normal", reason="Gone", message="by the operator")


@kopf.daemon(*KIND, cancellation_timeout=2)
async def minds(body, stopped, **_):
    kopf.event(body, type="Normal", reason="Minded", message="by the operator")
    await stopped.wait()


@kopf.timer(*KIND, interval=0.3)
def ticks(annotations, patch, **_):
    patch.metadata.annotations["example.com/ticks"] = str(int(annotations.get("example.com/ticks", "0")) + 1)
