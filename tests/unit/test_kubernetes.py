"""The Kubernetes manifests, by what reads them: Kubernetes' schemas, Ray's autoscaler, Serve, jobs.

The schemas of KubeRay's own kinds are in no package; their fields were compared by hand with
KubeRay's API reference. What a pod, a service or a claim may hold is checked by Kubernetes' strict
schemas.
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from typer.main import get_command

from cluster.configs import FOLDER, resolve_config, shipped_serve_configs
from cluster.node_types import NODE_TYPES
from cluster.placement import place
from deepprune.config import load_config
from deepprune.sweep_config import SweepConfig
from jobs.cli import app

ROOT = FOLDER.parent
KUBERNETES = "1.30"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
DOCUMENTS = [
    (path.name, document)
    for path in MANIFESTS
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
RAY_KINDS = {"RayCluster": "", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}


def cluster_specs() -> dict[str, dict[str, Any]]:
    """What each of KubeRay's kinds says of its cluster, by kind."""
    return {
        document["kind"]: document["spec"].get(RAY_KINDS[document["kind"]], document["spec"])
        for _, document in DOCUMENTS
        if document["kind"] in RAY_KINDS
    }


SPECS = cluster_specs()
POD_TEMPLATES = [
    (f"{kind}/{group.get('groupName', 'head')}", group["template"])
    for kind, spec in SPECS.items()
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
]


def the(kind: str) -> dict[str, Any]:
    (found,) = (document for _, document in DOCUMENTS if document["kind"] == kind)
    return found


def check(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_each_of_kuberays_kinds_is_there():
    assert SPECS.keys() == RAY_KINDS.keys()
    for _, document in DOCUMENTS:
        expected = document["kind"] in RAY_KINDS
        assert (document["apiVersion"] == "ray.io/v1") == expected


@pytest.mark.parametrize(
    "document",
    [pytest.param(d, id=f"{n}-{d['kind']}") for n, d in DOCUMENTS if d["kind"] not in RAY_KINDS],
)
def test_kubernetes_own_kinds_hold_to_its_schemas(document):
    check(document)


@pytest.mark.parametrize(
    "template", [pytest.param(template, id=name) for name, template in POD_TEMPLATES]
)
def test_pods_hold_to_kubernetes_schemas(template):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}} | template
    check(pod)
    claims = {
        v["persistentVolumeClaim"]["claimName"]
        for v in template["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claims == {the("PersistentVolumeClaim")["metadata"]["name"]}
    for container in template["spec"]["containers"]:
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in template["spec"]["volumes"]}


def test_the_check_can_fail():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(pod | {"spec": {"containers": [{"name": "a", "imagee": "b"}]}})


@pytest.mark.parametrize("kind", SPECS)
def test_rays_autoscaler_finds_our_node_types(kind):
    """Read as the autoscaler in the head's pod reads it."""
    from ray.autoscaler._private.kuberay import autoscaling_config as kuberay

    resource = {"metadata": {"namespace": "default", "name": "it"}, "spec": SPECS[kind]}
    config = kuberay._derive_autoscaling_config_from_ray_cr(resource)
    types = config["available_node_types"]
    assert types.pop(config["head_node_type"])["resources"]["CPU"] == NODE_TYPES["head"].cpus
    assert set(types) <= {"a100x4", "h20x8"}
    for name, node_type in types.items():
        node, resources = NODE_TYPES[name], node_type["resources"]
        assert resources["CPU"] == node.cpus
        assert resources["GPU"] == node.gpus
        assert resources[f"accelerator_type:{node.accelerator}"] == 1
        assert 0 <= node_type["min_workers"] <= node_type["max_workers"] > 0
    assert config["idle_timeout_minutes"] == 10


@pytest.mark.parametrize("kind", SPECS)
def test_pods_fit_on_their_nodes(kind):
    for group in SPECS[kind]["workerGroupSpecs"]:
        node = NODE_TYPES[group["groupName"]]
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        limits = container["resources"]["limits"]
        assert limits == container["resources"]["requests"], "nothing else may take it away"
        assert limits["nvidia.com/gpu"] == str(node.gpus)
        assert int(limits["cpu"]) < node.cpus, "the kubelet needs some"
        assert int(limits["memory"].removesuffix("Gi")) < node.memory_gib
        assert pod["nodeSelector"] == {"deepprune/pool": node.name}


@pytest.mark.parametrize("kind", SPECS)
def test_a_pod_that_leaves_drains_its_node_in_the_time_it_has(kind):
    from ray.scripts.scripts import drain_node

    for group in SPECS[kind]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]
        drain, _, wait = script.partition(";")
        ray, command, *arguments = shlex.split(drain)
        assert (ray, command) == ("ray", drain_node.name)
        options = drain_node.make_context(command, arguments).params
        assert options["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
        grace_s = pod["terminationGracePeriodSeconds"]
        assert options["deadline_remaining_seconds"] < grace_s
        assert "seq 280" in wait and options["deadline_remaining_seconds"] > 2 * 280


def test_all_pods_run_one_image_of_this_version_with_this_ray():
    images = {c["image"] for _, t in POD_TEMPLATES for c in t["spec"]["containers"]}
    assert images == {f"deepprune:{version('deepprune')}"}
    (ray_version,) = {spec["rayVersion"] for spec in SPECS.values()}
    needed = map(Requirement, requires("deepprune") or ())
    assert all(each.specifier.contains(ray_version) for each in needed if each.name == "ray")
    dockerfile = (FOLDER / "kubernetes" / "Dockerfile").read_text()
    assert f"-t {images.pop()} ." in dockerfile


def test_the_image_installs_what_its_pods_run_and_holds_nothing_private():
    dockerfile = (FOLDER / "kubernetes" / "Dockerfile").read_text()
    assert '".[gpu,train,hub]"' in dockerfile
    left_out = (ROOT / ".dockerignore").read_text().split()
    named = {line.strip("/").removeprefix("**/") for line in left_out}
    assert named >= {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    assert ".git" in named


@pytest.mark.parametrize("kind", SPECS)
def test_a_token_of_the_hub_reaches_every_pod_where_there_is_one(kind):
    for group in [SPECS[kind]["headGroupSpec"], *SPECS[kind]["workerGroupSpecs"]]:
        (container,) = group["template"]["spec"]["containers"]
        (token,) = (e for e in container["env"] if e["name"] == "HF_TOKEN")
        assert token["valueFrom"]["secretKeyRef"]["optional"]


def test_what_must_outlive_the_head_is_in_redis():
    service = the("Service")
    secret = the("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["env"][0]
    port = service["spec"]["ports"][0]["port"]
    for kind in ("RayCluster", "RayService"):
        kept = SPECS[kind]["gcsFaultToleranceOptions"]
        assert kept["redisAddress"] == f"{service['metadata']['name']}:{port}"
        assert kept["redisPassword"]["valueFrom"] == secret["valueFrom"]
    assert "gcsFaultToleranceOptions" not in SPECS["RayJob"], "its sweep resumes from its folder"


class TestSweepJob:
    def test_its_command_and_its_sweep_are_ours(self):
        from ray.dashboard.modules.job.common import JobSubmitRequest, validate_request_type

        job = the("RayJob")["spec"]
        request = validate_request_type({"entrypoint": job["entrypoint"]}, JobSubmitRequest)
        python, flag, module, command, *arguments = shlex.split(request.entrypoint)
        assert (python, flag, module, command) == ("python", "-m", "jobs", "sweep")
        options = get_command(app).commands["sweep"].make_context("sweep", arguments).params
        mounted = the("ConfigMap")
        assert Path(options["config"]).name in mounted["data"]
        assert str(options["out"]).startswith("/data/runs/"), "it outlives the pods"

    def test_its_cluster_holds_its_run(self):
        sweep = SweepConfig.model_validate(yaml.safe_load(the("ConfigMap")["data"]["sweep.yaml"]))
        pools = {g["groupName"]: g["maxReplicas"] for g in SPECS["RayJob"]["workerGroupSpecs"]}
        for run in sweep.runs:
            config = load_config(resolve_config(run))
            place(config)
            assert all(pools.get(name, 0) >= count for name, count in config.nodes.items())


class TestEndpoint:
    @pytest.fixture(scope="class")
    def application(self):
        from ray.serve.schema import ServeDeploySchema

        served = yaml.safe_load(the("RayService")["spec"]["serveConfigV2"])
        (application,) = ServeDeploySchema.model_validate(served).applications
        return application

    def test_its_keys_reach_every_pod(self):
        spec = SPECS["RayService"]
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            (container,) = group["template"]["spec"]["containers"]
            (keys,) = (e for e in container["env"] if e["name"] == "DEEPPRUNE_API_KEYS")
            assert "secretKeyRef" in keys["valueFrom"]

    def test_its_application_is_ours(self, application):
        module, _, builder = application.import_path.partition(":")
        if importlib.util.find_spec(module.rpartition(".")[0]) is None:
            pytest.skip("the endpoint is not in this tree")
        imported = importlib.import_module(module)
        assert callable(getattr(imported, builder))
        assert resolve_config(application.args["config"], shipped_serve_configs())


def test_no_manifest_holds_a_secret_or_a_place_of_ours():
    for path in MANIFESTS:
        text = path.read_text()
        assert "/home/" not in text and "/root/" not in text
        assert all(document["kind"] != "Secret" for document in yaml.safe_load_all(text))
