#!/usr/bin/python3
"""kubernetes.py FILE NAME [DOCKER-OPTION...]: runs the container of a CronJob by docker, with its environment, arguments and security
context, and checks that Kubernetes has the fields that it uses. FILE is one of examples/."""

import subprocess
import sys

import yaml


def only(what, given, *allowed):
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        sys.exit(f"{what}: Kubernetes has no {', '.join(unknown)} here")
    return given


def environment(source, documents):
    (kind, reference), = source.items()
    name = only(kind, reference, "name")["name"]
    kind, field = {"configMapRef": ("ConfigMap", "data"), "secretRef": ("Secret", "stringData")}[kind]
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == (kind, name):
            return document[field]
    sys.exit(f"there is no {kind} {name}")


def container(job, documents):
    only("the CronJob", job, "apiVersion", "kind", "metadata", "spec")
    assert job["apiVersion"] == "batch/v1"
    spec = only("its spec", job["spec"], "schedule", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds", "jobTemplate")
    job_spec = only("the job", only("jobTemplate", spec["jobTemplate"], "spec")["spec"], "backoffLimit", "template")
    pod = only("template", job_spec["template"], "spec")["spec"]
    only("the pod", pod, "restartPolicy", "automountServiceAccountToken", "enableServiceLinks", "securityContext", "containers")
    context = only("the pod's securityContext", pod["securityContext"], "runAsNonRoot", "seccompProfile")
    assert pod["restartPolicy"] == "Never" and context["runAsNonRoot"] is True
    one, = pod["containers"]
    only("the container", one, "name", "image", "args", "envFrom", "securityContext", "resources")
    rights = only("its securityContext", one["securityContext"], "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities")
    # OpenShift assigns any user id, with the group root.
    options = ["--user", "1000660000:0", "--env", "KUBERNETES_SERVICE_HOST=10.0.0.1"]
    if rights["readOnlyRootFilesystem"]:
        options.append("--read-only")
    if rights["allowPrivilegeEscalation"] is False:
        options += ["--security-opt", "no-new-privileges"]
    for capability in only("capabilities", rights["capabilities"], "drop")["drop"]:
        options += ["--cap-drop", capability]
    for source in one["envFrom"]:
        for name, value in environment(source, documents).items():
            assert isinstance(value, str), f"{name} is no string"
            options += ["--env", f"{name}={value}"]
    return options, one["image"], one["args"]


file, name, *more = sys.argv[1:]
with open(file, encoding="utf-8") as text:
    documents = list(yaml.safe_load_all(text))
job = next(document for document in documents if (document["kind"], document["metadata"]["name"]) == ("CronJob", name))
options, image, arguments = container(job, documents)
sys.exit(subprocess.run(["docker", "run", "--rm", *options, *more, image, *arguments], check=False).returncode)
