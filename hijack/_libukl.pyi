"""Types of the compiled binding; cffi gives everything at run time."""

from typing import Any

ffi: Any
lib: Any
