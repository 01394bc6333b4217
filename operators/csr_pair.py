"""A sparse matrix and its transpose as torch sees them, on whatever device and in whatever precision is asked for."""

from __future__ import annotations

import warnings

import scipy.sparse as sp
import torch
from torch import Tensor


class CsrPair:
    """A and its transpose, both as CSR because products with a transposed CSR view are several times slower."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        self.matrix = matrix
        self._csr: dict[tuple[torch.dtype, torch.device, bool], Tensor] = {}

    @property
    def n_entries(self) -> int:
        """Of A alone."""
        return int(self.matrix.nnz)

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        """(n, n_in) -> (n, n_out), or back with the transpose."""
        return self.columns(rows.mT, transposed).mT

    def columns(self, columns: Tensor, transposed: bool) -> Tensor:
        """(n_in, n) -> (n_out, n), or back with the transpose."""
        matrix = self._csr_tensor(columns.dtype, columns.device, transposed)
        with torch.autocast(columns.device.type, enabled=False):  # autocast would take the matrix to bfloat16
            if columns.shape[1] == 1:
                return (matrix @ columns[:, 0]).unsqueeze(1)
            return matrix @ columns

    def _csr_tensor(self, dtype: torch.dtype, device: torch.device, transposed: bool) -> Tensor:
        key = (dtype, device, transposed)
        if key not in self._csr:
            if dtype not in (torch.float32, torch.float64):
                raise TypeError(f"input must be float32 or float64, got {dtype}: convert it with .float()")
            matrix = self.matrix.T.tocsr() if transposed else self.matrix
            # MKL and cuSPARSE take 32-bit indices as they are; 64-bit ones are converted at every product.
            index = torch.int32 if matrix.nnz < 2**31 else torch.int64
            with warnings.catch_warnings():
                # torch says once that sparse CSR is in beta; products with two-dimensional ones are all that is used.
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                self._csr[key] = torch.sparse_csr_tensor(
                    torch.as_tensor(matrix.indptr).to(index),
                    torch.as_tensor(matrix.indices).to(index),
                    torch.as_tensor(matrix.data).to(dtype),
                    size=matrix.shape,
                    device=device,
                    check_invariants=False,
                )
        return self._csr[key]
