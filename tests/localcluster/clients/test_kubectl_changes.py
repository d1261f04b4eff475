"""The real kubectl changes: apply, server-side apply, patch, delete, roll out, scale, create."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.localcluster.clients.kubectl_objects import (
    applied,
    config_map,
    deployment,
    image,
    lines,
    read,
    rolled_out,
    until,
)

ROOT = Path(__file__).resolve().parents[3]
LOCAL = ROOT / "kustomize" / "overlays" / "local"


class TestApply:
    def test_creates_then_changes_nothing_then_changes(self, cluster):
        assert applied(cluster, deployment("apply")) == "deployment.apps/apply created\n"
        version = read(cluster, "deploy/apply")["metadata"]["resourceVersion"]
        assert applied(cluster, deployment("apply")) == "deployment.apps/apply unchanged\n"
        assert read(cluster, "deploy/apply")["metadata"]["resourceVersion"] == version
        assert applied(cluster, deployment("apply", "web:2")) == "deployment.apps/apply configured\n"
        assert image(cluster, "apply") == "web:2"

    def test_removes_what_the_manifest_drops_and_keeps_what_others_added(self, cluster):
        applied(cluster, config_map("drops", a="1", b="2"))
        cluster.kubectl("patch", "cm/drops", "--type=merge", "-p", '{"data": {"c": "3"}}')
        applied(cluster, config_map("drops", a="1"))
        assert read(cluster, "cm/drops")["data"] == {"a": "1", "c": "3"}

    def test_refuses_unknown_fields_and_wrong_types(self, cluster):
        said = applied(cluster, deployment("strict", replicass=1), fails=True)
        assert 'strict decoding error: unknown field "spec.replicass"' in said
        said = applied(cluster, deployment("strict", replicas="two"), fails=True)
        assert "spec.replicas" in said
        assert "not found" in cluster.kubectl("get", "deploy/strict", fails=True)
        said = applied(cluster, deployment("strict", replicass=1), "--validate=warn")
        assert 'Warning: unknown field "spec.replicass"' in said
        assert "created" in said

    def test_takes_a_list_and_checks_its_items(self, cluster):
        cluster.kubectl("create", "-f", "-", stdin=config_map("listed", a="1"))
        listed = json.loads(cluster.kubectl("get", "cm", "-o", "json", "--field-selector", "metadata.name=listed"))
        assert listed["kind"] == "List"
        assert "configmap/listed configured" in applied(cluster, json.dumps(listed))
        listed["items"][0]["dataa"] = {}
        del listed["items"][0]["metadata"]["resourceVersion"]
        assert 'unknown field "dataa"' in applied(cluster, json.dumps(listed), fails=True)

    def test_a_dry_run_stores_nothing(self, cluster):
        said = applied(cluster, config_map("dry", a="1"), "--dry-run=server")
        assert said == "configmap/dry created (server dry run)\n"
        assert "not found" in cluster.kubectl("get", "cm/dry", fails=True)

    @pytest.mark.parametrize("options", [[], ["--server-side"]], ids=["client-side", "server-side"])
    def test_an_overlay_of_this_project_arrives_whole_and_stays_as_it_is(self, cluster, options):
        built = [item for item in yaml.safe_load_all(cluster.kubectl("kustomize", LOCAL)) if item]
        done = "serverside-applied" if options else "created"
        assert cluster.kubectl("apply", "-k", LOCAL, *options).count(f" {done}\n") == len(built)

        def versions():
            shown = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}"
            return cluster.kubectl("get", "-k", LOCAL, "-o", shown)

        before = versions()
        assert len(before.splitlines()) == len(built)
        assert cluster.kubectl("diff", "-k", LOCAL, *options) == ""
        cluster.kubectl("apply", "-k", LOCAL, *options)
        assert versions() == before
        assert "deleted" in cluster.kubectl("delete", "-k", LOCAL, "--timeout=20s")


class TestServerSideApply:
    def test_tells_of_conflicts_and_takes_fields_by_force(self, cluster):
        applied(cluster, deployment("ssa"), "--server-side")
        cluster.kubectl("scale", "deploy/ssa", "--replicas=5")
        said = applied(cluster, deployment("ssa"), "--server-side", fails=True)
        assert 'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale"' in said
        assert ".spec.replicas" in said
        assert "--force-conflicts" in said
        applied(cluster, deployment("ssa"), "--server-side", "--force-conflicts")
        assert read(cluster, "deploy/ssa")["spec"]["replicas"] == 2

    def test_two_managers_each_own_their_part(self, cluster):
        applied(cluster, config_map("parts", a="1"), "--server-side", "--field-manager=alice")
        applied(cluster, config_map("parts", b="2"), "--server-side", "--field-manager=bob")
        assert read(cluster, "cm/parts")["data"] == {"a": "1", "b": "2"}
        said = applied(cluster, config_map("parts", a="3"), "--server-side", "--field-manager=bob", fails=True)
        assert 'conflict with "alice": .data.a' in said
        owners = [
            entry["manager"]
            for entry in read(cluster, "cm/parts", "--show-managed-fields")["metadata"]["managedFields"]
        ]
        assert owners == ["alice", "bob"]

    def test_prunes_what_nobody_wants_any_more(self, cluster):
        applied(cluster, config_map("pruned", a="1", b="2"), "--server-side")
        applied(cluster, config_map("pruned", a="1"), "--server-side")
        assert read(cluster, "cm/pruned")["data"] == {"a": "1"}

    def test_goes_on_from_client_side_apply(self, cluster):
        applied(cluster, config_map("migrated", a="1", b="2"))
        applied(cluster, config_map("migrated", a="2"), "--server-side")
        found = read(cluster, "cm/migrated", "--show-managed-fields")
        assert found["data"] == {"a": "2"}
        operations = {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]}
        assert operations == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}
        # And back.
        applied(cluster, config_map("migrated", a="3"))
        assert read(cluster, "cm/migrated")["data"] == {"a": "3"}

    def test_of_the_same_again_is_no_change(self, cluster):
        applied(cluster, deployment("same"), "--server-side")
        before = read(cluster, "deploy/same", "--show-managed-fields")
        applied(cluster, deployment("same"), "--server-side")
        assert read(cluster, "deploy/same", "--show-managed-fields") == before


def test_diff_shows_what_an_apply_would_change(cluster, tmp_path):
    applied(cluster, deployment("diff"))
    assert cluster.kubectl("diff", "-f", "-", stdin=deployment("diff")) == ""
    changed = tmp_path / "changed.yaml"
    changed.write_text(deployment("diff", "web:2"))
    for options in ([], ["--server-side", "--force-conflicts"]):
        done = cluster.start("diff", *options, "-f", changed)
        printed = done.communicate(timeout=20)[0]
        assert done.returncode == 1
        assert "-        image: web:1\n+        image: web:2\n" in re.sub(r"(?m)^([-+]) +", r"\1        ", printed)
    assert image(cluster, "diff") == "web:1"


class TestChange:
    @pytest.fixture(scope="class", autouse=True)
    def item(self, cluster):
        applied(cluster, deployment("change"))

    def test_labels_and_annotates(self, cluster):
        cluster.kubectl("label", "deploy/change", "tier=front")
        assert "--overwrite is false" in cluster.kubectl("label", "deploy/change", "tier=back", fails=True)
        cluster.kubectl("label", "deploy/change", "tier=back", "--overwrite")
        cluster.kubectl("annotate", "deploy/change", "note=hello")
        metadata = read(cluster, "deploy/change")["metadata"]
        assert (metadata["labels"]["tier"], metadata["annotations"]["note"]) == ("back", "hello")
        cluster.kubectl("label", "deploy/change", "tier-")
        assert "tier" not in read(cluster, "deploy/change")["metadata"]["labels"]

    def test_patches_in_three_ways(self, cluster):
        env = {"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}
        cluster.kubectl("patch", "deploy/change", "-p", json.dumps({"spec": {"template": {"spec": env}}}))
        container = read(cluster, "deploy/change")["spec"]["template"]["spec"]["containers"][0]
        assert {each["name"]: each["value"] for each in container["env"]} == {"A": "1", "B": "2"}
        cluster.kubectl("patch", "deploy/change", "--type=merge", "-p", '{"spec": {"paused": true}}')
        assert read(cluster, "deploy/change")["spec"]["paused"] is True
        remove = [{"op": "test", "path": "/spec/paused", "value": True}, {"op": "remove", "path": "/spec/paused"}]
        cluster.kubectl("patch", "deploy/change", "--type=json", "-p", json.dumps(remove))
        assert "paused" not in read(cluster, "deploy/change")["spec"]
        said = cluster.kubectl("patch", "deploy/change", "--type=json", "-p", json.dumps(remove), fails=True)
        assert "The request is invalid" in said

    def test_a_custom_resource_takes_merge_patches_only(self, cluster):
        route = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "change"},
            "spec": {"hostnames": ["a.localhost"]},
        }
        applied(cluster, json.dumps(route))
        change = json.dumps({"spec": {"hostnames": ["b.localhost"]}})
        assert "is not supported by" in cluster.kubectl("patch", "httproute/change", "-p", change, fails=True)
        cluster.kubectl("patch", "httproute/change", "--type=merge", "-p", change)
        assert '["b.localhost"]' in cluster.kubectl("get", "httproute/change")

    def test_replaces_and_refuses_an_old_version(self, cluster):
        old = cluster.kubectl("get", "deploy/change", "-o", "yaml")
        cluster.kubectl("replace", "-f", "-", stdin=re.sub(r"image: .*", "image: web:7", old))
        assert image(cluster, "change") == "web:7"
        said = cluster.kubectl("replace", "-f", "-", stdin=re.sub(r"image: .*", "image: web:8", old), fails=True)
        assert "the object has been modified" in said
        assert "Conflict" in said

    def test_edits(self, cluster):
        cluster.kubectl("edit", "deploy/change", EDITOR="sed -i s/image:.*/image:\\ web:9/")
        assert image(cluster, "change") == "web:9"

    def test_sets_images_and_environments(self, cluster):
        cluster.kubectl("set", "image", "deploy/change", "web=web:10")
        cluster.kubectl("set", "env", "deploy/change", "C=3")
        assert image(cluster, "change") == "web:10"
        assert "C=3" in cluster.kubectl("set", "env", "deploy/change", "--list")


class TestDelete:
    def test_waits_until_a_finalizer_has_gone(self, cluster):
        held = yaml.safe_load(config_map("held"))
        held["metadata"]["finalizers"] = ["example.com/hold"]
        applied(cluster, json.dumps(held))
        deleting = cluster.start("delete", "cm/held", "--timeout=20s")
        until(lambda: "deletionTimestamp" in read(cluster, "cm/held")["metadata"], "held")
        assert deleting.poll() is None
        cluster.kubectl("patch", "cm/held", "--type=json", "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]')
        assert deleting.wait(10) == 0
        assert "not found" in cluster.kubectl("get", "cm/held", fails=True)

    def test_does_not_wait_when_told_so(self, cluster):
        held = yaml.safe_load(config_map("unwaited"))
        held["metadata"]["finalizers"] = ["example.com/hold"]
        applied(cluster, json.dumps(held))
        cluster.kubectl("delete", "cm/unwaited", "--wait=false")
        cluster.kubectl("patch", "cm/unwaited", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        cluster.kubectl("wait", "--for=delete", "cm/unwaited", "--timeout=10s")

    @pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
    def test_takes_dependents_along_or_leaves_them(self, cluster, cascade):
        name = f"cascade-{cascade}"
        applied(cluster, deployment(name))
        uid = read(cluster, f"deploy/{name}")["metadata"]["uid"]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid, "blockOwnerDeletion": True}
        owned = yaml.safe_load(config_map(name))
        owned["metadata"]["ownerReferences"] = [owner]
        applied(cluster, json.dumps(owned))
        cluster.kubectl("delete", f"deploy/{name}", f"--cascade={cascade}", "--timeout=10s")
        if cascade == "orphan":
            until(lambda: "ownerReferences" not in read(cluster, f"cm/{name}")["metadata"], name)
        else:
            cluster.kubectl("wait", "--for=delete", f"cm/{name}", "--timeout=10s")

    def test_deletes_by_label_and_ignores_what_is_gone(self, cluster):
        applied(cluster, deployment("labelled"))
        assert "deleted" in cluster.kubectl("delete", "deploy", "-l", "app=labelled")
        assert cluster.kubectl("delete", "deploy/labelled", "--ignore-not-found") == ""

    def test_a_namespace_takes_its_content_along(self, cluster):
        applied(cluster, "{apiVersion: v1, kind: Namespace, metadata: {name: gone}}")
        applied(cluster, config_map("inside"), "-n", "gone")
        cluster.kubectl("delete", "ns/gone", "--timeout=10s")
        assert "not found" in cluster.kubectl("get", "cm/inside", "-n", "gone", fails=True)


def test_rollout_restarts_and_tells_when_it_is_done(cluster):
    applied(cluster, deployment("rollout"))
    rolled_out(cluster, "rollout", 2)
    assert "successfully rolled out" in cluster.kubectl("rollout", "status", "deploy/rollout", "--timeout=10s")
    cluster.kubectl("rollout", "restart", "deploy/rollout")
    template = read(cluster, "deploy/rollout")["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    status = cluster.start("rollout", "status", "deploy/rollout", "--timeout=20s")
    printed = lines(status)
    until(lambda: printed, printed)
    rolled_out(cluster, "rollout", 2)
    assert status.wait(20) == 0
    assert "Waiting" in printed[0]
    cluster.kubectl("rollout", "pause", "deploy/rollout")
    cluster.kubectl("rollout", "resume", "deploy/rollout")


def test_scale_changes_the_replicas_and_checks_the_present_ones(cluster):
    applied(cluster, deployment("scaled"))
    cluster.kubectl("scale", "deploy/scaled", "--replicas=4", "--current-replicas=2")
    assert read(cluster, "deploy/scaled")["spec"]["replicas"] == 4
    said = cluster.kubectl("scale", "deploy/scaled", "--replicas=9", "--current-replicas=2", fails=True)
    assert "Expected replicas to be 2, was 4" in said


class TestCreate:
    def test_takes_files(self, cluster):
        cluster.kubectl("create", "-f", "-", stdin=config_map("created", a="1"))
        said = cluster.kubectl("create", "-f", "-", stdin=config_map("created", a="1"), fails=True)
        assert 'configmaps "created" already exists' in said

    @pytest.mark.parametrize(
        "what",
        [["namespace", "made"], ["configmap", "made", "--from-literal=a=b"], ["deployment", "made", "--image=web"]],
    )
    def test_of_a_few_kinds_needs_a_detour_that_the_error_names(self, cluster, what):
        # kubectl sends these as protobuf, which this server does not read.
        assert "--dry-run=client -o yaml | kubectl apply" in cluster.kubectl("create", *what, fails=True)
        manifest = cluster.kubectl("create", *what, "--dry-run=client", "-o", "yaml")
        assert "created" in applied(cluster, manifest)

    def test_runs_and_exposes(self, cluster):
        cluster.kubectl("run", "ran", "--image=web:1", "--port=80")
        cluster.kubectl("expose", "pod/ran", "--port=80")
        assert read(cluster, "svc/ran")["spec"]["selector"] == {"run": "ran"}
