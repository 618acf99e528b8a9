"""Arguments and results as JSON text.

What JSON has is written as it is. The standard library's other plain types are written as an object with the one key
`$`: `{"$":["date","2027-01-31"]}`. A real dict that holds this key, or keys that are not text, is written as pairs:
`{"$":["dict",[["$",1]]]}`. So every object with the key `$` is a tag, and reading needs one pass, from the inside out.

    dumps_call, loads_call      the arguments of a call: [args, kwargs]
    dumps_value, loads_value    a result
    PARENT_RESULT               stands for the result of the parent job

What is read equals what was written, in type and value, and what could not be so is refused when it is written. (Of a
dataclass the fields of its `__init__` are kept; of NaN the sign is not.) The exception are classes that extend a plain
type, such as Django's SafeString, OrderedDict and NumPy's float64: what they hold is written, and comes back as the
plain type. Enums, dataclasses and named tuples stay what they are.

Reading is safe even for text that was altered: it imports nothing, and of what is imported it uses only enums,
dataclasses and named tuples. (A dataclass is called, so its `__post_init__` runs.) It raises `ParkError` for text that
another process may be able to read, and `ValueError` for text that none can.

May import the ground and `tasks.functions`. Start reading in `tags.py`, then `tagging.py` and `decoding.py`.
"""

from embedq.serializers.decoding import can_read_tag, can_read_zone, loads_call, loads_value, wants_parent_result
from embedq.serializers.encoding import dumps_call, dumps_value
from embedq.serializers.lacking import lacking_types
from embedq.serializers.tagging import MAX_DEPTH
from embedq.serializers.tags import PARENT_RESULT

__all__ = [
    "MAX_DEPTH",
    "PARENT_RESULT",
    "can_read_tag",
    "can_read_zone",
    "dumps_call",
    "dumps_value",
    "lacking_types",
    "loads_call",
    "loads_value",
    "wants_parent_result",
]
