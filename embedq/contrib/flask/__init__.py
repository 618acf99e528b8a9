"""embedq in Flask: an extension. See docs/flask.md.

from embedq.contrib.flask import EmbedQ

embedq = EmbedQ()                       # or EmbedQ(app)
embedq.init_app(app)
"""

from embedq.contrib.flask.extension import EmbedQ

__all__ = ["EmbedQ"]
