"""embedq in Flask: an extension. See docs/flask.md.

from embedq.contrib.flask import EmbedQ

queue = EmbedQ()                        # or EmbedQ(app)
queue.init_app(app)

May import what `contrib` may. Start reading in `extension.py`.
"""

from embedq.contrib.flask.extension import FlaskExtension as EmbedQ

__all__ = ["EmbedQ"]
