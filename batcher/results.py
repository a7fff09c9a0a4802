"""What `run_batch` returned or raised, as something each caller can be told. Pure; event loop."""

from typing import TYPE_CHECKING, Any, TypeVar

from batcher.errors import BatchFailed

if TYPE_CHECKING:
    from batcher.executor import Outcome

_Error = TypeVar("_Error", bound=BaseException)


def one_for_each(outcome: "Outcome", requests: int) -> tuple[list[Any], BaseException | None]:
    """The results of a call and None; or the exception that tells why there are none."""
    if outcome.error is not None:
        return [], outcome.error
    try:
        return _as_list(outcome.returned, requests), None
    except Exception as error:  # noqa: BLE001 - iterating is the function's code as well
        return [], error


def _as_list(returned: Any, requests: int) -> list[Any]:
    """TypeError or ValueError say what should have been returned."""
    if not isinstance(returned, list):
        if isinstance(returned, str | bytes | dict | set) or not hasattr(returned, "__len__"):
            msg = (
                f"run_batch must return a sequence of {requests} results, one for each request,"
                f" not {type(returned).__name__}"
            )
            raise TypeError(msg)
        returned = list(returned)
    results: list[Any] = returned
    if len(results) != requests:
        msg = f"run_batch returned {len(results)} results for {requests} requests"
        raise ValueError(msg)
    return results


def raisable(error: BaseException) -> Exception:
    """An exception that a future can hold: not StopIteration, none that ends tasks or programs."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return because(BatchFailed(f"run_batch returned for this request: {described(error)}"), error)


def batch_failed(error: BaseException, requests: int) -> BatchFailed:
    """For one caller of a batch that failed as a whole."""
    return because(
        BatchFailed(f"the batch of {requests} requests failed: {described(error)}"), error
    )


def because(error: _Error, cause: BaseException | None) -> _Error:
    """The error with its cause."""
    error.__cause__ = cause
    return error


def described(error: BaseException) -> str:
    """Type and words of an exception, whose `__str__` is somebody's code and may fail as well."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:  # noqa: BLE001 - see above
        return name
