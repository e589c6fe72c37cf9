"""The marks that these tests know, also where the repository's pytest.ini is not."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes or needs a peer; runs in test-slow")
