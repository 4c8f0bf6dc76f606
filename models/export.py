"""A trained network as a program of plain operators: to be run where our classes are not."""

from math import log
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.data import Batch, Float32Array
from models.errors import Unusable
from models.schema import Side
from models.scoring import Network
from models.sequence.lists import Lists

_EXAMPLE = 3, 5, 7  # requests, candidates and ads that the program is traced with; 1 would be taken for fixed


class Program(nn.Module):
    """What `Network.logits` does, of tensors only.

    Lists come padded, since how many values n lists hold is a number of the data, which would stand in the shapes of a program.
    A free place is given to one more request after the last, so that it enters no sum; what comes out for that one is dropped.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.scoring, self.places = network.scoring, network.shape.places
        self.dtype = network.dtype
        self.click, self.conversion = network.heads
        self.shift = log(network.config.negatives_kept)

    def forward(
        self, categorical: Tensor, dense: Tensor, lists: list[Tensor], ad_categorical: Tensor, ad_dense: Tensor,
        ad_vector: Tensor, row: Tensor, cross: Tensor, slot: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Logits (n, k) of a click and of a conversion given a click.

        Args:
            categorical: (n, Rc) int32 of requests, -1 is missing.
            dense: (n, Rd) of requests.
            lists: Of each list column, (n, places) int32, the values first and then -1.
            ad_categorical: (A, Ac) int32.
            ad_dense: (A, Ad).
            ad_vector: (A, V).
            row: (n, k) int32 the ad of each candidate, -1 where there is none.
            cross: (n, k, X) of request and ad.
            slot: (k,) int32 that each candidate is predicted for.
        """
        ads = self.scoring.ad(ad_categorical, ad_dense, ad_vector)
        own = [of_padded(values) for values in lists]
        request, _ = self.scoring.request(with_one_more(categorical), with_one_more(dense), own)
        place = row.clamp(min=0)
        parts = [nn.functional.embedding(place, part.to(self.dtype)) for part in ads]
        whole = [part[:-1].to(self.dtype) if part.is_floating_point() else part[:-1] for part in request]
        logit = self.scoring.pair(whole, parts, cross, slot)
        return logit[:, :, self.click] + self.shift, logit[:, :, self.conversion]


def with_one_more(x: Tensor) -> Tensor:
    """(n, ...) with a row of zeros after the last."""
    return torch.cat([x, x.new_zeros(1, *x.shape[1:])])


def of_padded(values: Tensor) -> Lists:
    """Padded lists (n, places) as n + 1 lists, the last of which takes the free places."""
    n, places = values.shape
    row = torch.arange(n).unsqueeze(1).expand(n, places)
    place = torch.arange(places).expand(n, places)
    return Lists(values.flatten(), torch.where(values >= 0, row, n).flatten(), place.flatten(), n + 1, places)


def export_network(network: Network, path: Path) -> None:
    """Write a program to a `.pt2` file, for `torch.export.load(path).module()`; its arguments are those of `Program.forward`.

    It takes any number of requests, candidates and ads, and holds the format that the network is served in.

    Raises:
        Unusable: If the network is not on the processor, where programs are made.
    """
    if network.device != "cpu":
        raise Unusable(f"a network is exported on the processor, this one is on {network.device}")
    n, k, a = Dim("requests"), Dim("candidates"), Dim("ads")
    dims = (
        {0: n}, {0: n}, [{0: n} for _ in network.shape.places], {0: a}, {0: a}, {0: a}, {0: n, 1: k}, {0: n, 1: k}, {0: k}
    )  # fmt: skip
    with torch.no_grad():
        program = torch.export.export(Program(network), _example(network), dynamic_shapes=dims, strict=True)
    torch.export.save(program, path)


class Exported:
    """A program read back, as a predictor of batches.

    It has no memory from call to call, so each call computes the ads' side anew, of the ads that are candidates.

    Args:
        path: Of a file that `export_network` wrote.
        places: Of each list column, how many values the program takes.
    """

    def __init__(self, path: Path, places: tuple[int, ...]) -> None:
        self._program, self._places = torch.export.load(path).module(), places

    @property
    def device(self) -> str:
        """It runs on the processor."""
        return "cpu"

    @torch.inference_mode()
    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click and of conversion given click."""
        ad, place = np.unique(np.maximum(batch.row, 0), return_inverse=True)
        arrays = batch.categorical, batch.dense, batch.ads.categorical[ad], batch.ads.dense[ad], batch.ads.vector[ad]
        categorical, dense, *ads = (_tensor(x) for x in arrays)
        lists = [_tensor(values.padded(n)) for values, n in zip(batch.lists, self._places, strict=True)]
        row = _tensor(place.reshape(batch.row.shape).astype(np.int32))
        click, conversion = self._program(
            categorical, dense, lists, *ads, row, _tensor(batch.cross), _tensor(batch.slot)
        )
        return click.numpy(), conversion.numpy()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


def _example(network: Network) -> tuple[Tensor | list[Tensor], ...]:
    """Arguments of which only the types and widths count; fresh tensors, since what they are views of would be saved too."""
    n, k, a = _EXAMPLE
    inputs = network.net.inputs
    ad_dense, cross = (len(inputs.dense_columns[side]) for side in (Side.AD, Side.CROSS))
    return (
        _whole(n, len(inputs.request_starts)),
        torch.zeros(n, len(inputs.dense_columns[Side.REQUEST])),
        [_whole(n, places) for places in network.shape.places],
        _whole(a, len(inputs.ad_starts)),
        torch.zeros(a, ad_dense),
        torch.zeros(a, len(inputs.ad_mean) - ad_dense),
        _whole(n, k),
        torch.zeros(n, k, cross),
        _whole(k),
    )


def _whole(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int32)
