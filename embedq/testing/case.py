"""The kit for tests that are written with unittest."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from embedq.testing.kit import AppUnderTest, app_under_test


class EmbedqTestMixin(unittest.TestCase):
    """Gives each test of a class `self.embedq_app`, as the fixture of that name does.

        class SignupTests(EmbedqTestMixin, django.test.TestCase):
            embedq_options = {"inline": True}

    Attributes:
        embedq_options: keywords of `app_under_test`.
    """

    embedq_options: ClassVar[dict[str, Any]] = {}
    embedq_app: AppUnderTest

    def setUp(self) -> None:
        self.embedq_app = self.enterContext(app_under_test(**self.embedq_options))
        super().setUp()
