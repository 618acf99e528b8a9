"""How much may run at a time.

`guard` has the settings by which jobs are held back while they slow down the requests of the web app around them;
`worker/governor.py` applies them. May import `errors` only, since `config` imports it. Start reading in `guard.py`.
"""
