"""The manifest that `ray up` takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.node_types import NODE_TYPES

ROOT = Path(__file__).parents[2]


class TestManifest:
    @pytest.fixture(scope="class")
    def manifest(self) -> dict:
        return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())

    @pytest.fixture(scope="class")
    def prepared(self, manifest) -> dict:
        """As `ray up` has it when it asks the provider for the first node."""
        from ray.autoscaler._private.util import prepare_config, validate_config

        prepared = prepare_config(manifest)
        validate_config(prepared)
        return prepared

    def test_its_node_types_are_ours(self, prepared):
        types = prepared["available_node_types"]
        assert set(types) == {"head", "a100x4", "h20x8"}
        for name, node_type in types.items():
            expected = NODE_TYPES[name]
            resources = {"CPU": expected.cpus}
            if expected.gpus:
                resources |= {"GPU": expected.gpus, f"accelerator_type:{expected.accelerator}": 1}
            assert node_type["resources"] == resources

    def test_it_grows_within_limits_and_shrinks(self, prepared):
        types = prepared["available_node_types"]
        assert types["head"]["max_workers"] == 0
        for name in ("a100x4", "h20x8"):
            limits = types[name]["min_workers"], types[name]["max_workers"]
            assert 0 == limits[0] <= limits[1] <= prepared["max_workers"]
        assert types["a100x4"]["max_workers"] > 0
        assert 0 < prepared["idle_timeout_minutes"] <= 60

    def test_both_sides_start_ray(self, prepared):
        *_, head = prepared["head_start_ray_commands"]
        *_, worker = prepared["worker_start_ray_commands"]
        assert "ray start --head --port=6379" in head
        assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
        assert "ray start --address=$RAY_HEAD_IP:6379" in worker
        assert all("RAY_AUTH_MODE=token" in command for command in (head, worker))
        assert "~/.ray/auth_token" in prepared["file_mounts"]

    def test_each_side_installs_what_it_runs(self, prepared):
        (worker,) = (c for c in prepared["worker_setup_commands"] if "EXTRAS=gpu" in c)
        (head,) = (c for c in prepared["head_setup_commands"] if "EXTRAS=cpu" in c)
        for command in (head, worker):
            assert "train,hub" in command
            assert "TORCH_BACKEND" not in command, "vLLM's CUDA wheel needs PyPI's torch"

    def test_it_holds_no_secret_and_no_place_of_ours(self, manifest):
        assert manifest["provider"]["project_id"] is None
        assert "ssh_private_key" not in manifest["auth"]
        assert set(manifest["file_mounts"].values()) == {".", "~/.ray/auth_token"}
        text = (ROOT / "ray_cluster.yaml").read_text()
        assert "/home/" not in text and "/root/" not in text


def test_torch_for_gpus_is_pypis_and_the_set_up_ends_with_a_check(tmp_path):
    def steps(extras: str) -> str:
        make = ["make", "--dry-run", "--always-make", "setup", f"EXTRAS={extras}", "FIND_LINKS="]
        return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "TORCH_BACKEND" not in steps("gpu,train,hub")
    assert "actors.import_check" in steps("gpu,train,hub")
    assert "UV_TORCH_BACKEND=cpu" in steps("cpu") and "import_check" not in steps("cpu")
