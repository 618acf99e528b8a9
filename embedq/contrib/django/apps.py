"""The Django app, and its work when Django has loaded it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate

from embedq import default_app
from embedq.contrib.django import binding
from embedq.contrib.django.checks import check_project
from embedq.contrib.django.transactions import block_around
from embedq.errors import ConfigurationError


class EmbedqConfig(AppConfig):
    """An app without models: embedq creates and migrates its tables itself."""

    name = "embedq.contrib.django"
    label = "embedq"
    verbose_name = "Background jobs"

    def ready(self) -> None:
        """Bind the default app to the project; connect and start nothing."""
        checks.register(check_project)
        connection_created.connect(binding.follow, dispatch_uid="embedq.follow")
        post_migrate.connect(binding.migrate, sender=self, dispatch_uid="embedq.migrate")
        setting_changed.connect(binding.follow_settings, dispatch_uid="embedq.follow_settings")
        engine = default_app().engine
        engine.when_needed, engine.block_around = binding.connect, block_around
        try:
            binding.bind()
        except ConfigurationError:
            # `check_project` reports it, and so does the first use.
            pass
        binding.know_tasks()
        binding.start_with_the_server()
