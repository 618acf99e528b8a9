"""embedq in Flask: an extension. See docs/flask.md.

from embedq.contrib.flask import EmbedQ

queue = EmbedQ()                        # or EmbedQ(app)
queue.init_app(app)
"""

from embedq.contrib.flask.extension import EmbedQ

__all__ = ["EmbedQ"]
