"""What users of the Python client do. Prints a line "ok: ..." for each thing that worked; any surprise ends it."""

import base64
import threading

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

config.load_kube_config()
core, apps, extensions = client.CoreV1Api(), client.AppsV1Api(), client.ApiextensionsV1Api()
NAMESPACE = "python"


def until(events, condition):
    """The first watched object for which the condition holds."""
    for event in events:
        if condition(event["object"]):
            return event["object"]
    raise AssertionError("the watch ended")


def objects():
    version = client.VersionApi().get_code()
    assert version.major == "1", version
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    accounts = watch.Watch().stream(core.list_namespaced_service_account, NAMESPACE, timeout_seconds=60)
    until(accounts, lambda account: account.metadata.name == "default")
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"k": "v"})
    core.create_namespaced_secret(NAMESPACE, secret)
    read = core.read_namespaced_secret("s", NAMESPACE)
    assert base64.b64decode(read.data["k"]) == b"v", read.data
    try:
        core.create_namespaced_secret(NAMESPACE, secret)
        raise AssertionError("created twice")
    except ApiException as error:
        assert error.status == 409 and error.reason == "Conflict", error
    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"c{number}", labels={"l": "x"})))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, limit=2, label_selector="l=x", _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"c{number}" for number in range(5)], names
    patched = core.patch_namespaced_config_map("c0", NAMESPACE, {"data": {"a": "b"}})
    assert patched.data == {"a": "b"}
    print("ok: objects, pages, conflicts, patches of", version.git_version)


def workload():
    labels = {"app": "web"}
    container = client.V1Container(name="main", image="img", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container]))
    spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
    seen = watch.Watch().stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=120)
    until(seen, lambda deployment: deployment.status.ready_replicas == 2)
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    scale.spec.replicas = 1
    apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale)
    seen = watch.Watch().stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=120)
    until(seen, lambda deployment: deployment.status.replicas == 1)
    pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web", field_selector="status.phase=Running")
    print("ok: a deployment watched to 2 and scaled to 1")
    return [pod for pod in pods.items if not pod.metadata.deletion_timestamp][0].metadata.name


def streams(pod):
    said = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True, stdin=False, tty=False)
    assert "out" in said and "err" in said, said
    session = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["sh", "-c", "read line; echo got $line; exit 3"], stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    session.write_stdin("hello\n")
    session.run_forever(timeout=60)
    assert session.read_stdout() == "got hello\n"
    assert session.returncode == 3, session.returncode
    log = core.read_namespaced_pod_log(pod, NAMESPACE, tail_lines=2)
    assert log == "main line 99\nmain line 100\n", log
    followed = watch.Watch().stream(core.read_namespaced_pod_log, pod, NAMESPACE, tail_lines=1)
    assert next(iter(followed)) == "main line 100"
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports="80")
    socket = forward.socket(80)
    socket.settimeout(60)
    socket.sendall(b"GET /py HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := socket.recv(4096):
        answer += chunk
    assert b"GET /py" in answer, answer
    assert forward.error(80) is None
    print("ok: exec with input and exit code 3, logs, port-forward")


def custom():
    schema = client.V1JSONSchemaProps(type="object", properties={"spec": client.V1JSONSchemaProps(type="object", properties={"size": client.V1JSONSchemaProps(type="integer")})})
    version = client.V1CustomResourceDefinitionVersion(name="v1", served=True, storage=True, schema=client.V1CustomResourceValidation(open_apiv3_schema=schema))
    names = client.V1CustomResourceDefinitionNames(plural="pythons", singular="python", kind="Python")
    spec = client.V1CustomResourceDefinitionSpec(group="py.example.org", scope="Namespaced", names=names, versions=[version])
    extensions.create_custom_resource_definition(client.V1CustomResourceDefinition(metadata=client.V1ObjectMeta(name="pythons.py.example.org"), spec=spec))
    seen = watch.Watch().stream(extensions.list_custom_resource_definition, timeout_seconds=60)
    until(seen, lambda crd: crd.metadata.name == "pythons.py.example.org" and any(c.type == "Established" and c.status == "True" for c in crd.status.conditions or []))
    dynamic_client = dynamic.DynamicClient(client.ApiClient())
    pythons = dynamic_client.resources.get(api_version="py.example.org/v1", kind="Python")
    body = {"apiVersion": "py.example.org/v1", "kind": "Python", "metadata": {"name": "p"}, "spec": {"size": 1}}
    pythons.create(body=body, namespace=NAMESPACE)
    body["spec"]["size"] = 2
    applied = pythons.server_side_apply(body=body, namespace=NAMESPACE, field_manager="py", force_conflicts=True)
    assert applied.spec.size == 2, applied
    assert len(pythons.get(namespace=NAMESPACE).items) == 1
    objects = client.CustomObjectsApi()
    objects.patch_namespaced_custom_object("py.example.org", "v1", NAMESPACE, "pythons", "p", {"spec": {"size": 3}})
    assert objects.get_namespaced_custom_object("py.example.org", "v1", NAMESPACE, "pythons", "p")["spec"]["size"] == 3
    print("ok: a definition, the dynamic client, server-side apply")


def rest():
    utils.create_from_dict(client.ApiClient(), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dict", "namespace": NAMESPACE}})
    gone = threading.Event()

    def wait():
        for event in watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, field_selector="metadata.name=dict", timeout_seconds=60):
            if event["type"] == "DELETED":
                gone.set()
                return

    waiting = threading.Thread(target=wait)
    waiting.start()
    core.delete_namespaced_config_map("dict", NAMESPACE)
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="l=x")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="l=x").items
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods")))
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed
    groups = client.ApisApi().get_api_versions().groups
    assert any(group.name == "apps" for group in groups)
    core.delete_namespace(NAMESPACE)
    print("ok: from a dict, deletions, reviews,", len(groups), "groups")


objects()
streams(workload())
custom()
rest()
