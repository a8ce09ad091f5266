"""Fetch models from a stand-in of the hub: each file once, and one line for each error."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

import huggingface_hub
import pytest
from huggingface_hub import constants

from actors.hub_models import bytes_arrive, cache_bytes, fetch_models
from actors.models import MINIATURE
from deepprune.errors import UserError
from jobs.cli import main
from tests.support.standin_hub import TOKEN, Hub, serving
from tests.support.waiting import HANG_S

FILES = {path.name: path.read_bytes() for path in (MINIATURE / "reasoner").iterdir()}
"""A tiny model, whole."""
EXTRA = {"original/model.safetensors": b"again", "pytorch_model.bin": b"again"}
MODEL = "someone/reasoner"
CONFIG = """
nodes: {laptop: 1}
generator: {engine: {model: someone/reasoner, gpus_per_shard: 0}}
policy: {name: cons, num_traces: 8}
"""


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """The hub that huggingface_hub asks, and a cache of its own."""
    made = Hub({MODEL: FILES | EXTRA, "someone/gated": FILES}, gated=("someone/gated",))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with serving(made):
        point_to(made.url, monkeypatch)
        yield made


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT does, which is read once in a process."""
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + path)
    monkeypatch.setattr(constants, "ENDPOINT", url)


def refusal(model: str, token: str | None = None) -> str:
    with pytest.raises(UserError) as refused:
        list(fetch_models([model], token, download=True))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_model_is_downloaded_once_without_other_formats_of_its_weights(hub):
    size = sum(map(len, FILES.values()))
    (before,) = fetch_models([MODEL], None, download=False)
    assert (before.num_bytes, before.missing) == (size, size)
    assert not hub.downloads, "it only says what is there"
    *_, after = fetch_models([MODEL], None, download=True)
    assert (after.num_bytes, after.missing) == (size, 0)
    assert hub.downloads == {f"{MODEL}/{name}": 1 for name in FILES}
    assert cache_bytes(MODEL) == cache_bytes() == size
    (again,) = fetch_models([MODEL], None, download=True)
    assert again.missing == 0
    assert set(hub.downloads.values()) == {1}


def test_a_file_that_is_lost_is_the_only_one_downloaded_again(hub, tmp_path):
    list(fetch_models([MODEL], None, download=True))
    (link,) = (tmp_path / "cache").rglob("model.safetensors")
    link.resolve().unlink()
    link.unlink()
    first, *_ = fetch_models([MODEL], None, download=True)
    assert first.missing == len(FILES["model.safetensors"])
    again = {name for name, count in hub.downloads.items() if count > 1}
    assert again == {f"{MODEL}/model.safetensors"}


def test_two_processes_with_one_cache_download_nothing_twice(hub, tmp_path):
    program = f"""
from actors.hub_models import fetch_models
print(list(fetch_models([{MODEL!r}], None, True))[-1].missing)
"""
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program]
    both = [
        subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == [b"0\n", b"0\n"]
    assert set(hub.downloads.values()) == {1}


def test_without_the_hub_what_is_here_is_enough(hub, monkeypatch):
    list(fetch_models([MODEL], None, download=True))
    point_to("http://127.0.0.1:9", monkeypatch)
    (found,) = fetch_models([MODEL], None, download=True)
    assert found.missing == 0 < found.num_bytes


def test_a_hub_that_cannot_be_reached_is_one_line(hub, monkeypatch):
    point_to("http://127.0.0.1:9", monkeypatch)
    assert "no hub can be reached" in refusal(MODEL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(MODEL)


def test_a_model_that_the_hub_does_not_have_is_one_line(hub):
    assert "status 404): check the name" in refusal("someone/else")


def test_a_gated_model_needs_a_token(hub):
    assert "set HF_TOKEN or run `hf auth login`" in refusal("someone/gated")
    assert not hub.downloads
    *_, after = fetch_models(["someone/gated"], TOKEN, download=True)
    assert after.missing == 0


def test_a_disk_without_room_is_refused_before_the_download(hub):
    hub.sizes = {"model.safetensors": 10**16}
    said = refusal(MODEL)
    assert "10000000.0 GB are missing" in said and "set HF_HOME" in said
    assert not hub.downloads


def test_a_disk_that_fills_up_meanwhile_is_one_line(hub, monkeypatch):
    download = huggingface_hub.snapshot_download

    def full(*arguments, **options):
        if options.get("dry_run"):
            return download(*arguments, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    assert "the disk is full" in refusal(MODEL)


def test_bytes_that_arrive_are_noticed(hub):
    assert not bytes_arrive(0.01)
    arriving = threading.Timer(0.5, lambda: list(fetch_models([MODEL], None, download=True)))
    arriving.start()
    assert bytes_arrive(HANG_S)
    arriving.join()


def test_the_command_says_what_is_there_and_fetches_the_rest(hub, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(CONFIG)
    assert main(["fetch", str(file), "--dry-run"]) == 0
    assert "MB to fetch" in capsys.readouterr().out
    assert not hub.downloads
    assert main(["fetch", str(file)]) == 0
    assert f"{MODEL}: here" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "cache")
    assert main(["fetch", str(file), "--set", "generator.engine.model=someone/gated"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("deepprune: model 'someone/gated'")


def test_a_configuration_of_installed_models_needs_nothing(capsys):
    assert main(["fetch", "laptop"]) == 0
    assert "no model of a hub" in capsys.readouterr().err
