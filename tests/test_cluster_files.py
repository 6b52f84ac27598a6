"""The files in `cluster/`: YAML against published schemas, valid commands of the study, and valid shell scripts."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from study.run.__main__ import parser

ROOT = Path(__file__).parents[1]
SCRIPTS = [*sorted((ROOT / "cluster").glob("*.sh")), *sorted((ROOT / "benchmarks").rglob("*.sh"))]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "cluster" / name).read_text()))


def _launcher(name: str) -> dict[str, Any]:
    (content,) = _documents(name)
    return content


@pytest.mark.parametrize("name", ["onprem.yaml", "aws.yaml"])
def test_cluster_files_of_ray_up_follow_rays_own_schema(name: str):
    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    jsonschema.validate(_launcher(name), schema)
    validate_config(prepare_config(_launcher(name)))


@pytest.mark.parametrize("name", ["onprem.yaml", "aws.yaml"])
def test_clusters_of_ray_up_ask_for_the_token_of_ones_own_machine_and_listen_to_it_alone(name: str):
    content = _launcher(name)
    (token,) = (remote for remote, local in content["file_mounts"].items() if local == "~/.ray/auth_token")
    options = content.get("docker", {}).get("run_options", [])
    for role in ("head", "worker"):
        start = content[f"{role}_start_ray_commands"][1]
        assert "RAY_AUTH_MODE=token" in start or "--env=RAY_AUTH_MODE=token" in options
        assert token == "~/.ray/auth_token" or f"--env=RAY_AUTH_TOKEN_PATH={token}" in options
    assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][1]


def test_what_ray_up_sends_to_ones_own_machines_is_what_the_image_has():
    sent = {local for local in _launcher("onprem.yaml")["file_mounts"].values() if not local.startswith("~")}
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "cluster/Dockerfile").read_text(), re.MULTILINE)
    assert sent == {name for names in copied for name in names.split()} - {"cluster"}
    assert all((ROOT / name).exists() for name in sent)


def test_only_the_head_on_aws_has_a_lasting_disk_and_workers_come_from_zero():
    content = _launcher("aws.yaml")
    head, gpu = (content["available_node_types"][name] for name in (content["head_node_type"], "gpu"))
    assert head["node_config"]["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is False
    assert content["provider"]["cache_stopped_nodes"] is True
    assert (gpu["min_workers"], gpu["max_workers"], head["resources"]["CPU"]) == (0, content["max_workers"], 0)
    mounts = [option for option in content["docker"]["head_run_options"] if option.startswith("--volume")]
    assert mounts == ["--volume=/data:/data"] and "--volume" not in str(content["docker"]["run_options"])


def test_node_types_of_aws_are_those_of_its_interface():
    validate = pytest.importorskip("botocore.validate")
    shape = (
        pytest.importorskip("botocore.session").get_session().get_service_model("ec2").operation_model("RunInstances")
    )
    for node_type in _launcher("aws.yaml")["available_node_types"].values():
        given = {"MinCount": 1, "MaxCount": 1, **node_type["node_config"]}
        assert validate.ParamValidator().validate(given, shape.input_shape).generate_report() == ""


def _rayjob() -> dict[str, Any]:
    (job,) = _documents("kuberay.yaml")
    assert job["kind"] == "RayJob"
    return job


def test_only_the_head_of_the_ray_job_has_a_volume_and_it_holds_every_path_of_the_study():
    spec = _rayjob()["spec"]["rayClusterSpec"]
    claim, files = _documents("kuberay-volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"] and "storageClassName" not in claim["spec"]
    head = spec["headGroupSpec"]["template"]["spec"]
    for pod in (head, files["spec"]):
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": volume["name"], "mountPath": "/data"}]
    assert head["containers"][0]["workingDir"] == "/data"  # where the tracking store is without a server
    assert all("volumes" not in group["template"]["spec"] for group in spec["workerGroupSpecs"])
    words = shlex.split(_rayjob()["spec"]["entrypoint"])
    paths = [words[words.index(option) + 1] for option in ("--data", "--out", "--cache")]
    assert all(path.startswith("/data/") for path in paths)


def test_the_autoscaler_of_ray_reads_node_types_from_zero_out_of_the_ray_job():
    spec = _rayjob()["spec"]["rayClusterSpec"]
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and spec["rayVersion"] == pinned[1] and spec["enableInTreeAutoscaling"] is True
    cluster = {"metadata": {"name": "jointnet", "namespace": "default"}, "spec": spec}
    found = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    head, gpu = found["headgroup"], found["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 4)
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"], head["resources"]["CPU"]) == (8, 1, 0)


def _pods() -> dict[str, dict[str, Any]]:
    """Return the specifications of all pods that the files for Kubernetes state."""
    spec = _rayjob()["spec"]
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    return {
        "files": _documents("kuberay-volume.yaml")[1]["spec"],
        "submitter": spec["submitterPodTemplate"]["spec"],
        **{group.get("groupName", "head"): group["template"]["spec"] for group in groups},
    }


@pytest.mark.parametrize("name", ["files", "submitter", "head", "gpu"])
def test_every_pod_has_the_image_of_the_registry_a_limit_and_no_root(name: str):
    pod = _pods()[name]
    (container,) = pod["containers"]
    assert f"--tag {container['image']} " in (ROOT / "cluster/Dockerfile").read_text()
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["securityContext"]["runAsNonRoot"] and container["resources"]["limits"]["memory"]


def test_the_claim_and_every_pod_follow_the_schemas_of_kubernetes():
    kubernetes = pytest.importorskip("kubernetes_validate")
    pod = {"apiVersion": "v1", "kind": "Pod"}
    states = [{**pod, "metadata": {"name": name}, "spec": spec} for name, spec in _pods().items()]
    for state in (*_documents("kuberay-volume.yaml"), *states):
        kubernetes.validate(state, "1.33", strict=True)


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD names no ray.io_rayjobs.yaml of KubeRay")
def test_the_ray_job_follows_kuberays_schema():
    definition = yaml.load(Path(os.environ["KUBERAY_CRD"]).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    jsonschema.validate(_rayjob(), _closed(version["schema"]["openAPIV3Schema"]))


def _closed(schema: Any) -> Any:
    """Refuse unknown keys, like the Kubernetes API server with strict validation."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {key: _closed(value) for key, value in schema.items()}
    open_ended = "additionalProperties" in schema or "x-kubernetes-preserve-unknown-fields" in schema
    if schema.get("type") == "object" and "properties" in schema and not open_ended:
        found["additionalProperties"] = False
    return found


def _commands() -> list[str]:
    """Return all complete `python -m study.run` commands of the cluster's documentation and files."""
    text = (ROOT / "docs/how-to/cluster.md").read_text().replace("\\\n", " ")
    found = re.findall(r"^    .*?(python -m study\.run --.*)$", text, re.MULTILINE)
    return [*found, _rayjob()["spec"]["entrypoint"]]


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_one_that_the_study_takes(command: str):
    words = shlex.split(command, comments=True)[3:]
    assert parser().parse_args(words).search


def test_lasting_folders_are_given_wherever_a_command_runs_on_a_cluster():
    for command in _commands():
        assert re.search(r"--out /\w+/runs --cache /\w+/cache", command), command


@pytest.mark.parametrize("name", ["aws.yaml", "onprem.yaml", "kuberay.yaml", "kuberay-volume.yaml"])
def test_no_folder_of_a_study_hides_a_package(name: str):
    """In `/` or `~`, Python would import a folder `study` in place of the package, which is installed as editable."""
    assert re.findall(r"(?:~|[\s:])/(?:study|jointnet)\b(?!-)", (ROOT / "cluster" / name).read_text()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_read_by_a_shell_and_pass_shellcheck(script: Path):
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    if SHELLCHECK.exists():
        done = subprocess.run([SHELLCHECK, script], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("head", ["n1", "n2"])
def test_the_slurm_script_starts_a_head_then_the_others_then_the_study(tmp_path: Path, head: str):
    """SLURM's commands and Python are replaced by stand-ins that record their calls."""
    for name, body in {
        "scontrol": "printf 'n1\\nn2\\nn3\\n'",
        "srun": 'case "$*" in *hostname*) echo "127.0.1.1 10.1.2.3";; *) echo "srun $*" >>"$CALLS";; esac',
        "python": 'case "$*" in *secrets*) echo token;; *) echo "python $*" >>"$CALLS";; esac',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python"), "CALLS": str(calls)}
    slurm = {"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_ID": "10042", "SLURM_CPUS_PER_TASK": "8"}
    chosen = {} if head == "n1" else {"HEAD": head}
    script = ROOT / "cluster/slurm.sh"
    subprocess.run(["bash", script, "--search", "joint"], env=given | slurm | chosen, check=True)
    written: list[str] = []
    until = time.monotonic() + 30
    while len(written) < 5 and time.monotonic() < until:  # the nodes start in the background
        time.sleep(0.05)
        written = calls.read_text().splitlines()
    assert all(line.startswith("srun --overlap --nodes=") for line in written)
    on_head = [line.partition(f"--nodelist={head} ")[2] for line in written if f"--nodelist={head} " in line]
    (start,) = (line for line in on_head if "--head" in line)
    assert "--head --node-ip-address 10.1.2.3 --port 20042" in start and "--num-cpus 8" in start
    assert [line.split()[-1] for line in on_head if "wait_for_nodes" in line] == ["1", "3"]
    (study,) = (line for line in on_head if "study.run" in line)
    assert study.endswith("-m study.run --search joint --address 10.1.2.3:20042")
    (others,) = (line for line in written if f"--nodelist={head} " not in line)
    assert "--nodes=2" in others and f"--exclude={head}" in others and "--address 10.1.2.3:20042" in others
    assert "--num-cpus 8" in others


def test_the_image_and_the_installed_versions_are_those_of_the_constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    assert "--constraint constraints.txt" in (ROOT / "cluster/Dockerfile").read_text()
    assert {"psycopg2-binary", "grpcio", "opencensus"} <= set(pins)  # of the extra `cluster`
    assert set(metadata.metadata("jointnet-study").get_all("Provides-Extra") or ()) >= {"test"}


@pytest.mark.parametrize("patterns", [".gitignore", ".rayignore"])
def test_no_file_of_the_project_is_left_out_by_a_pattern(patterns: str):
    """`data/` without a slash before it would also match `jointnet/data`, so a submitted job would lack it."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the checkout's git folder")
    listed = ["git", "ls-files", "--cached", "--ignored", "--exclude-from", patterns]
    left_out = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert set(left_out) <= {"mlruns/README.md"}
