"""What many tests start from."""

import pytest

from tests.battery import copy_of, make_work
from tests.forkserver import Scripts


@pytest.fixture(scope="session")
def scripts():
    """Runs scripts as forks of one server: scripts(folder, "train.py", "small.yaml", ...)."""
    scripts = Scripts()
    yield scripts
    scripts.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory, scripts):
    """A folder with settings, data, labels, a training and its results; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_work(folder, scripts)
    return folder


@pytest.fixture
def work(tmp_path, finished):
    """A copy of that folder, to be changed at will."""
    return copy_of(finished, tmp_path / "work")
