"""The schema's versions that a database lacks; see each database's `migrations`."""

from __future__ import annotations

from collections.abc import Sequence

from embedq.errors import SchemaTooNewError


def missing(applied: set[str], versions: Sequence[str], *, label: str, own_place: str) -> list[str]:
    """Return the versions that have not been applied yet.

    Args:
        own_place: what keeps two apps apart in this database, for the message.
    Raises:
        SchemaTooNewError: versions have been applied that this embedq does not know.
    """
    unknown = sorted(applied.difference(versions))
    if unknown:
        raise SchemaTooNewError(
            f"{label} was migrated by a newer embedq: it has {', '.join(unknown)}, and this one knows up to "
            f"{versions[-1]}. Nothing was changed. Upgrade embedq in this process, or give this app {own_place} of its "
            "own."
        )
    return [version for version in versions if version not in applied]
