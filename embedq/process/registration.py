"""The number under which this process is registered with the database."""

from __future__ import annotations


class Registration:
    """The registration of one started app, shared by its parts.

    Attributes:
        server_id: the number now. It changes when other processes have declared this one dead and it registers again.
        uuid: the name that stays.
    """

    __slots__ = ("server_id", "uuid")

    def __init__(self, server_id: int, uuid: str = "") -> None:
        self.server_id = server_id
        self.uuid = uuid
