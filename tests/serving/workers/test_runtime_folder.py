import json
import os

from app.serving.workers.runtime_folder import RuntimeFolder


def test_the_status_file_has_all_processes_and_the_restarts(tmp_path):
    folder = RuntimeFolder(tmp_path)
    folder.write_status({"engine-0": 7}, 0)
    folder.write_status({"engine-0": 7, "worker-0": 8}, 1)
    assert json.loads(folder.status.read_text()) == {
        "processes": {"supervisor": os.getpid(), "engine-0": 7, "worker-0": 8},
        "restarts": 1,
    }
    assert list(tmp_path.iterdir()) == [folder.status]


def test_each_engine_and_generation_has_a_file_and_an_address(tmp_path):
    folder = RuntimeFolder(tmp_path)
    both = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({folder.served_model(*one) for one in both}) == len(both)
    assert len({folder.engine_address(*one) for one in both}) == len(both)
