"""A study on a cluster that has no node yet: Ray's own autoscaler starts one, and ends it afterwards."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_autoscaler import fake_cluster
from tiny_study import tiny_search

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_study_asks_for_a_node_waits_for_it_and_lets_it_go_and_halts_where_none_comes(workplace: Path):
    space = tiny_search("standalone", splits=["2/2/1"], phantom_patients=5)
    (workplace / "search_spaces" / "tiny.toml").write_text(space)
    with fake_cluster() as cluster:
        assert cluster.nodes() == 0
        environment = {**cluster.environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "study.run", "--search", "tiny", "--address", cluster.address]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        plan = " ".join(done.stdout.split())  # its lines are as wide as the terminal
        assert "as many concurrent trainings as fit, now 0 of up to 1, on cpu, 1 CPU each" in plan
        assert "1 node of 0 CPU and 0 GPU; an autoscaler for 1 node of 1 CPU and 0 GPU" in plan
        assert "\nwaiting for a node with 1 CPU: 0 min of at most 15\n" in done.stdout
        assert "standalone-2: 1 trials (1 complete)" in done.stdout
        command += ["--device", "cuda", "--wait-for-nodes", "0.02"]  # no node of this autoscaler has a GPU
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
        assert done.returncode == 5, done.stdout[-3000:] + done.stderr[-3000:]
        assert "\nwaiting for a node with 1 CPU and 1 GPU: 0 min of at most 0.02\n" in done.stdout
        halted, resume = done.stderr.splitlines()[-1].split(" Nothing is lost. To resume: ")
        assert halted == "Stopped: no node with 1 CPU and 1 GPU was there for 0.02 minutes (--wait-for-nodes)."
        assert resume.endswith(" --device cuda --wait-for-nodes 0.02")
        until = time.monotonic() + 300
        while cluster.nodes() and time.monotonic() < until:
            time.sleep(0.5)
        assert cluster.nodes() == 0, cluster.log.read_text()[-3000:]
