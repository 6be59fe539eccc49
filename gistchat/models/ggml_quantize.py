"""Quantisation by the ggml library that package xllamacpp brings, for kinds that package gguf cannot make.

Its function `ggml_quantize_chunk` belongs to ggml's C interface; the package exports it, but does not document that.
Tested with xllamacpp 2026.10; where the function is missing, that is said.
"""

import ctypes
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gistchat.errors import UserError, first_line

NAME = "ggml_quantize_chunk"


def quantize(rows: np.ndarray, kind: Any) -> np.ndarray:
    """A matrix of 32-bit floats in another kind, as bytes: an array of (rows, bytes per row).

    Args:
        kind: a gguf.GGMLQuantizationType whose blocks fill each row.

    Raises:
        UserError: xllamacpp is missing, or a version of it that does not export the function.
    """
    from gguf import quant_shape_to_byte_shape

    source = np.ascontiguousarray(rows, dtype=np.float32)
    count, width = source.shape
    target = np.empty(quant_shape_to_byte_shape(source.shape, kind), dtype=np.uint8)
    written = _function()(int(kind), source.ctypes.data, target.ctypes.data, 0, count, width, None)
    if written != target.nbytes:
        raise UserError(f"--quant: ggml wrote {written:,} bytes instead of {target.nbytes:,}; use q8_0 or f16")
    return target


@lru_cache(maxsize=1)
def _function() -> Any:
    """size_t ggml_quantize_chunk(type, const float * src, void * dst, start, nrows, n_per_row, imatrix)."""
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        raise UserError("--quant: this kind needs package xllamacpp (pip install xllamacpp); f16 and q8_0 do not")
    try:
        [library] = Path(spec.origin).parent.glob("xllamacpp*.so")
        function = getattr(ctypes.CDLL(str(library)), NAME)
    except (ValueError, OSError, AttributeError) as error:
        raise UserError(
            f"--quant: this version of xllamacpp cannot quantise ({first_line(error)}); use q8_0 or f16"
        ) from None
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    return function
