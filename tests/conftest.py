"""Fixtures that several files of tests share."""

import pytest


@pytest.fixture
def one_thread():
    """Torch on one thread: results are compared to the bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
