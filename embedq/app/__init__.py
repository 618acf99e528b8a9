"""`EmbedQ`: one queue as this process sees it, with everything that it can do.

`parts.py` puts the parts of `engine` together, and passes them what is in the rooms above them, `operations` and
`doctor`, which are loaded when they are first needed. `verbs.py` has the verbs that enqueue. May import all below.
Start reading in `app.py`.
"""

from embedq.app.app import EmbedQ
from embedq.app.verbs import BoundOptions

__all__ = ["BoundOptions", "EmbedQ"]
