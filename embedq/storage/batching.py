"""Splitting values into batches that one statement can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

# A statement holds its values several times over, and PostgreSQL's JSON no more than 268 MB.
BATCH_BYTES = 8_000_000


def batched(values: Sequence[T], size: Callable[[T], int], *, most: int = BATCH_BYTES) -> Iterator[list[T]]:
    """Split the values, in order, into batches of at most `most` bytes; a larger value is a batch of its own."""
    batch: list[T] = []
    total = 0
    for value in values:
        length = size(value)
        if batch and total + length > most:
            yield batch
            batch, total = [], 0
        batch.append(value)
        total += length
    if batch:
        yield batch


def length_of_texts(row: Sequence[object]) -> int:
    """Return the total length of a row's texts."""
    return sum(len(value) for value in row if isinstance(value, str))
