"""`EmbedQ`, seen from an application: enqueueing, starting, stopping, settings, and mistakes in calls."""
