"""Functions as jobs: their registration, names, stored form, signatures, options and retries.

`task` has the functions that can be enqueued, `registration` has `@embedq.job`, `registry` finds tasks by name. A
function is stored by its name (`functions`) or by value (`pickled`), and signed (`signing`); `moved` has former names
of embedq's own modules. `options`, `retry` (stored by `retry_json`) and `middleware` decide how a job runs, `arguments`
checks that a call fits its function. `handle` is what an enqueue returns, `context` what a running job can use.

May import the ground, `display` and `process`; no database. Start reading in `task.py`.
"""
