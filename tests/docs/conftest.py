"""The workshop that prepares the folders of the pages."""

import pytest

from tests.docs.prepared import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))
