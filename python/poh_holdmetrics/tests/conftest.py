"""The marks that these tests know, also where the repository's pytest.ini is not; and Ctrl-C."""

import signal

# A runner that starts the tests in the background hands them an ignored SIGINT, and every program
# that they start would inherit it: Ctrl-C is tested as a person presses it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings

# A busy machine is slow at times; no test is about time.
settings.register_profile("poh_holdmetrics", deadline=None)
settings.load_profile("poh_holdmetrics")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes or needs a peer; runs in test-slow")
