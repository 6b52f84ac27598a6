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

from study.run.__main__ import parser

ROOT = Path(__file__).parents[1]
SCRIPTS = [*sorted((ROOT / "cluster").glob("*.sh")), *sorted((ROOT / "benchmarks").rglob("*.sh"))]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "cluster" / name).read_text()))


@pytest.mark.parametrize("name", ["onprem.yaml", "aws.yaml"])
def test_cluster_files_of_ray_up_follow_rays_own_schema(name: str):
    (content,) = _documents(name)
    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    jsonschema.validate(content, schema)
    started = "\n".join(content["head_start_ray_commands"] + content["worker_start_ray_commands"])
    assert started.count("RAY_AUTH_MODE=token") == 2 and "--dashboard-host=127.0.0.1" in started


def _rayjob() -> dict[str, Any]:
    claim, job = _documents("kuberay.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert job["kind"] == "RayJob"
    return job


def test_the_ray_job_has_the_pinned_ray_and_mounts_the_shared_claim_on_every_node():
    spec = _rayjob()["spec"]["rayClusterSpec"]
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and spec["rayVersion"] == pinned[1]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "jointnet-shared"
        assert [container["volumeMounts"][0]["mountPath"] for container in pod["containers"]] == ["/shared"]


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD names no ray.io_rayjobs.yaml of KubeRay")
def test_the_ray_job_follows_kuberays_schema():
    definition = yaml.safe_load(Path(os.environ["KUBERAY_CRD"]).read_text())
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


def test_shared_folders_are_given_wherever_a_command_runs_on_a_cluster():
    for command in _commands():
        assert "--out /shared" in command and "--cache /shared" in command, command


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_read_by_a_shell_and_pass_shellcheck(script: Path):
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    if SHELLCHECK.exists():
        done = subprocess.run([SHELLCHECK, script], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_slurm_script_starts_a_head_then_the_others_then_the_study(tmp_path: Path):
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
    script = ROOT / "cluster/slurm.sh"
    subprocess.run(["bash", script, "--search", "joint"], env=given | slurm, check=True)
    written: list[str] = []
    until = time.monotonic() + 30
    while len(written) < 5 and time.monotonic() < until:  # the nodes start in the background
        time.sleep(0.05)
        written = sorted(calls.read_text().splitlines())
    head, study, others = (line for line in written if line.startswith("srun"))
    assert "--nodelist=n1" in head and "--head --node-ip-address 10.1.2.3 --port 20042" in head
    assert "--num-cpus 8" in head and "--num-cpus 8" in others
    assert "--nodes=2" in others and "--exclude=n1" in others and "--address 10.1.2.3:20042" in others
    assert "--nodelist=n1" in study and study.endswith("-m study.run --search joint --address 10.1.2.3:20042")
    assert [line.split()[-1] for line in written if "wait_for_nodes" in line] == ["1", "3"]


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
