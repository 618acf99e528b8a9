"""Somebody who uses the dashboard without a browser: follows links, fills in forms."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from werkzeug.test import Client, TestResponse

from embedq.dashboard.serving import WsgiDashboard
from embedq.dashboard.site import Site

PREFIX = "/ops/embedq"


class DashboardResponse(TestResponse):
    """A response whose JSON is taken to be there; a test fails where it is not."""

    @property
    def json(self) -> Any:
        return self.get_json()


class Visitor:
    """One browser's cookies, at a dashboard that is mounted under a prefix.

    Args:
        address: where the requests come from.
        stranger: they have no token, at a dashboard that asks for one.
        headers: of every request.
    """

    def __init__(
        self,
        dashboard: WsgiDashboard,
        *,
        address: str = "127.0.0.1",
        host: str = "localhost",
        stranger: bool = False,
        **headers: str,
    ) -> None:
        self.site = dashboard.site
        self._client = Client(dashboard, DashboardResponse)
        if dashboard.site.login is not None and not stranger:
            headers.setdefault("authorization", f"Bearer {token_of(dashboard.site)}")
        self._base = {"REMOTE_ADDR": address, "SERVER_PROTOCOL": "HTTP/1.1"}
        self._host = host
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def get(self, path: str, **headers: str) -> DashboardResponse:
        """A page; `path` is within the dashboard, or a link from one of its pages."""
        return self._open("GET", path, headers)

    def post(self, path: str, fields: dict[str, Any], *, token: bool = True, **headers: str) -> DashboardResponse:
        """Send a form, with the token of the pages unless told otherwise."""
        data = {"csrf": self.token(), **fields} if token else fields
        return self._open("POST", path, headers, data=data)

    def send(self, path: str, json: Any = None, **headers: str) -> DashboardResponse:
        """Ask the API for a change."""
        headers.setdefault("content_type", "application/json")
        return self._open("POST", path, headers, json=json if json is not None else {})

    def move_to(self, dashboard: WsgiDashboard) -> None:
        """The next request is answered by another process, so to say; the cookies stay."""
        self._client.application = dashboard

    def token(self) -> str:
        """The token of the page's forms."""
        found = re.search(r'name="csrf" value="(\w+)"', self.get("/jobs").text)
        assert found, "a page with a form has a token"
        return found[1]

    def follow(self, answer: DashboardResponse) -> DashboardResponse:
        """Where a redirect leads."""
        assert answer.status_code == 303, (answer.status_code, answer.text[:500])
        return self.get(answer.headers["Location"])

    def _open(self, method: str, path: str, headers: dict[str, str], **body: Any) -> DashboardResponse:
        path = path.removeprefix(PREFIX) or "/"
        response = self._client.open(
            path,
            method=method,
            base_url=f"http://{self._host}{PREFIX}",
            environ_overrides=self._base,
            headers={**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}},
            **body,
        )
        assert isinstance(response, DashboardResponse)
        return response


def token_of(site: Site) -> str:
    """The token that a dashboard asks for."""
    queue = site._find_queue()
    site._connect(queue)
    assert site.login is not None
    return site.login.tokens.token(queue)


def words(html: str) -> str:
    """What a page says: without its tags, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split()).replace(" ?", "?")
