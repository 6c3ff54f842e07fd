"""Data types of tensors, by the names that files have for them."""

import torch

# Data type, its class of storage in a file of torch.save, its name in safetensors. Types that came to torch late have
# no class: torch.save writes their numbers as bytes, and the tensor names the type.
TABLE: list[tuple[torch.dtype, str, str]] = [
    (torch.float64, "DoubleStorage", "F64"),
    (torch.float32, "FloatStorage", "F32"),
    (torch.float16, "HalfStorage", "F16"),
    (torch.bfloat16, "BFloat16Storage", "BF16"),
    (torch.int64, "LongStorage", "I64"),
    (torch.int32, "IntStorage", "I32"),
    (torch.int16, "ShortStorage", "I16"),
    (torch.int8, "CharStorage", "I8"),
    (torch.uint8, "ByteStorage", "U8"),
    (torch.uint8, "storage.UntypedStorage", ""),
    (torch.bool, "BoolStorage", "BOOL"),
    (torch.complex64, "ComplexFloatStorage", ""),
    (torch.complex128, "ComplexDoubleStorage", ""),
    (torch.uint16, "", ""),
    (torch.uint32, "", ""),
    (torch.uint64, "", ""),
    (torch.float8_e4m3fn, "", "F8_E4M3"),
    (torch.float8_e5m2, "", "F8_E5M2"),
    (torch.float8_e4m3fnuz, "", ""),
    (torch.float8_e5m2fnuz, "", ""),
]
BY_STORAGE = {f"torch.{storage}": dtype for dtype, storage, _ in TABLE if storage}
BY_TENSOR = {str(dtype): dtype for dtype, storage, _ in TABLE if not storage}
BY_SAFETENSORS = {name: dtype for dtype, _, name in TABLE if name}


def dtype_name(dtype: torch.dtype) -> str:
    """Return a data type's plain name, such as "float32"."""
    return str(dtype).removeprefix("torch.")
