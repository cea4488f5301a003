# SPDX-License-Identifier: Apache-2.0
"""The example for Kubernetes: fields that exist, what it asks for, what agrees with it."""

from __future__ import annotations

import re
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES

from deploy import names
from otel_memory import config as ours

from . import servers
from .stack_files import COLLECTOR, DEPLOY, KUBERNETES, ROOT, SCRAPE, documents, read

KUBERNETES_VERSION = kubernetes_validate.latest_version()
OPERATORS = "monitoring.coreos.com/"  # a PodMonitor is in no schema of Kubernetes
MANIFESTS = [
    pytest.param(content, id=f"{path.stem}-{content['kind']}")
    for path in KUBERNETES
    for content in yaml.safe_load_all(path.read_text())
    if not content["apiVersion"].startswith(OPERATORS)
]


@pytest.mark.parametrize("content", MANIFESTS)
def test_kubernetes_knows_every_field(content):
    kubernetes_validate.validate(content, KUBERNETES_VERSION, strict=True)


def test_a_field_that_is_spelt_wrong_is_noticed():
    content = deployment()
    (spelt,) = content["spec"]["template"]["spec"]["containers"]
    spelt["securitycontext"] = spelt.pop("securityContext")
    with pytest.raises(kubernetes_validate.ValidationError, match="securitycontext"):
        kubernetes_validate.validate(content, KUBERNETES_VERSION, strict=True)


def test_the_deployments_port_and_probe_are_reached_from_outside(tmp_path):
    """The loopback has more addresses than the one that the shop has by default."""
    (http,) = (each for each in container()["ports"] if each["name"] == "http")
    probe = container()["readinessProbe"]["httpGet"]
    assert probe["port"] == http["name"]
    own = f"--port={http['containerPort']}"
    assert own in container()["args"]
    main, log = ROOT / "examples/shop/main.py", tmp_path / "shop.log"
    with servers.reserved_port() as port:
        free = f"--port={port}"
        arguments = [free if each == own else each for each in container()["args"]]
        with servers.Server(log, sys.executable, main, *arguments) as it:
            it.find(r"(The shop is open)")
            url = f"http://127.0.0.2:{port}{probe['path']}"
            assert servers.answer(url)[0] == 200


def deployment() -> dict[str, Any]:
    return documents("deployment.yaml")["Deployment"]


def container() -> dict[str, Any]:
    (only,) = deployment()["spec"]["template"]["spec"]["containers"]
    return only


def test_the_deployment_is_started_without_a_change_of_code():
    assert container()["command"][0] == "opentelemetry-instrument"
    limits = container()["resources"]["limits"]
    assert limits["memory"] == container()["resources"]["requests"]["memory"]
    assert "cpu" not in limits


@pytest.mark.parametrize("name", ["configmap.yaml", "podmonitor.yaml"])
def test_either_configmap_is_the_one_that_the_deployment_takes(name):
    (source,) = container()["envFrom"]
    made = documents(name)["ConfigMap"]
    assert source["configMapRef"]["name"] == made["metadata"]["name"]
    assert all(isinstance(value, str) for value in made["data"].values())


def test_the_pod_monitor_finds_the_pods_and_their_port():
    monitor = documents("podmonitor.yaml")["PodMonitor"]["spec"]
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert deployment()["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    data = documents("podmonitor.yaml")["ConfigMap"]["data"]
    assert str(ports[endpoint["port"]]) == data["OTEL_EXPORTER_PROMETHEUS_PORT"]
    interval = names.SETTINGS["export"]["interval_seconds"]
    assert endpoint["interval"] == f"{interval}s"
    (job,) = endpoint["relabelings"]
    assert (job["targetLabel"], job["separator"]) == (names.JOB, "/")
    namespace, of_label = job["sourceLabels"]
    assert namespace == "__meta_kubernetes_namespace"
    (name,) = (each for each in labels if meta(each) == of_label)
    # By OTLP: service.namespace/service.name.
    paths = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in container()["env"]
        if "valueFrom" in each
    }
    assert paths["POD_NAMESPACE"] == "metadata.namespace"
    assert paths["OTEL_SERVICE_NAME"] == f"metadata.labels['{name}']"
    (attributes,) = (
        each["value"]
        for each in container()["env"]
        if each["name"] == OTEL_RESOURCE_ATTRIBUTES
    )
    assert "service.namespace=$(POD_NAMESPACE)" in attributes.split(",")
    (relabelling,) = read(SCRAPE)["scrape_configs"][0]["metric_relabel_configs"]
    assert endpoint["metricRelabelings"] == [relabelling]


def meta(label: str) -> str:
    """Name a pod's label as Prometheus does."""
    return "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label)


def test_the_pod_is_one_that_the_level_restricted_admits():
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    # An image that names its user in letters is refused without a number.
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container()["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert [each.keys() for each in pod["volumes"]] == [{"name", "emptyDir"}]


def test_a_heap_profile_can_be_had_of_the_pod():
    (signal,) = (
        each["value"]
        for each in container()["env"]
        if each["name"] == ours.OTEL_PYTHON_MEMORY_PROFILE_SIGNAL
    )
    runbooks = (ROOT / "docs/runbooks/README.md").read_text()
    assert f"{ours.OTEL_PYTHON_MEMORY_PROFILE_SIGNAL}={signal}" in runbooks
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    (mount,) = container()["volumeMounts"]
    (on,) = deployment()["spec"]["template"]["spec"]["volumes"]
    assert mount == {"name": on["name"], "mountPath": "/tmp"}
    assert on["emptyDir"] == {}  # "medium: Memory" would count towards the limit


def test_who_takes_the_collectors_file_is_told_what_to_change():
    text = (DEPLOY / "kubernetes/configmap.yaml").read_text()
    exporters = read(COLLECTOR)["exporters"]
    for name in (key for key, value in exporters.items() if "endpoint" in value):
        assert name in text


def test_variables_that_are_put_in_are_set_before():
    seen: set[str] = set()
    for each in container()["env"]:
        assert set(re.findall(r"\$\((\w+)\)", each.get("value", ""))) <= seen
        seen.add(each["name"])
        path = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        if found := re.fullmatch(r"metadata\.labels\['(.+)'\]", path):
            labels = deployment()["spec"]["template"]["metadata"]["labels"]
            assert found[1] in labels
