"""How much may run at a time, and what is paused.

`guard` has the settings by which jobs are held back while they slow down the requests of the web app around them;
`worker/governor.py` applies them. `holds` decides which jobs a pause keeps; `storage/holds.py` applies that at the
claim. `limits`, `rates` and `lanes` decide how many jobs start, and whose turn it is; `storage/lanes.py` applies that.
May import `errors` only, since `config` imports it. Start reading in `guard.py`.
"""
