"""A folder of results: whole parts or none, one writer, one configuration."""

from __future__ import annotations

import multiprocessing
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from jobs.storage.run_dir import RunDir

SCHEMA = pa.schema([("number", pa.int64())])
CONFIG = {"seeds": 3, "speed": {"streams": 8}, "policies": ["cons"]}


def write(folder: RunDir, part: str, *numbers: int) -> None:
    folder.write("outcomes", part, [{"number": number} for number in numbers], SCHEMA)


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path):
    with RunDir(tmp_path / "run", CONFIG) as folder:
        assert not folder.has("outcomes", "a")
        write(folder, "a", 1, 2)
    with RunDir(tmp_path / "run", CONFIG) as folder:
        assert folder.has("outcomes", "a")
        assert not folder.has("outcomes", "b")
    assert pq.read_table(tmp_path / "run" / "outcomes").num_rows == 2


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    with RunDir(tmp_path, CONFIG):
        pass
    other = CONFIG | {"seeds": 4, "speed": {"streams": 8, "step_s": 1.0}}
    with pytest.raises(UserError, match=r"different: seeds, speed\.step_s\)"):
        RunDir(tmp_path, other).__enter__()
    with RunDir(tmp_path, CONFIG):
        pass  # the refusal left no lock behind


def _hold(path, held, leave) -> None:
    with RunDir(path, CONFIG):
        held.set()
        leave.wait(60)


def test_a_run_that_named_its_model_by_a_relative_path_is_continued(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunDir(tmp_path / "run", CONFIG | {"model": "judges/a"}):
        pass
    with RunDir(tmp_path / "run", CONFIG | {"model": str(tmp_path / "judges" / "a")}):
        pass
    with pytest.raises(UserError, match=r"different: model\)"):
        RunDir(tmp_path / "run", CONFIG | {"model": "/elsewhere/judges/a"}).__enter__()


def test_a_second_writer_is_refused_and_a_dead_one_is_no_obstacle(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, leave))
    process.start()
    assert held.wait(60)
    with pytest.raises(UserError, match="another process is writing"):
        RunDir(tmp_path, CONFIG).__enter__()
    process.kill()
    process.join()
    with RunDir(tmp_path, CONFIG) as folder:
        write(folder, "a", 1)


def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_part(tmp_path, monkeypatch):
    with RunDir(tmp_path, CONFIG) as folder:
        write(folder, "a", 1)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device; what was written before"):
            write(folder, "b", 2)
        monkeypatch.undo()
        assert folder.has("outcomes", "a") and not folder.has("outcomes", "b")
        assert pq.read_table(tmp_path / "outcomes").num_rows == 1
        write(folder, "b", 2)
    assert pq.read_table(tmp_path / "outcomes").num_rows == 2


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write to"):
        RunDir(tmp_path / "file" / "run", CONFIG).__enter__()
