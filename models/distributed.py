"""Several processes on one training, started by torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


@contextmanager
def joined() -> Iterator[int]:
    """Join the processes that torchrun started, for as long as the context lasts; alone without torchrun.

    Yields:
        The rank of this process, 0 if it is alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()
