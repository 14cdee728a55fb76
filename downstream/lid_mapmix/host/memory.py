"""A memory that is full, of a GPU or of the machine, told apart from what else goes wrong where weights are loaded."""

from ..utils.errors import UserError

# torch raises a RuntimeError that names its allocator where the machine's own memory is full.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error tells of a full memory; torch's by name, so that it need not be imported for that."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, MemoryError) or "OutOfMemoryError" in names or _CPU_ALLOCATOR in str(error)


def out_of_memory(what: str, device: str) -> UserError:
    """Return the error that says what has no room where.

    Parameters
    ----------
    what : has no room.
    device : as torch names it.
    """
    place, other = ("the machine", "") if device == "cpu" else (device, ", or say --device cpu")
    return UserError(
        f"{what}: {place} has too little memory left for it. End what else uses that memory, or take a smaller "
        f"upstream{other}."
    )
