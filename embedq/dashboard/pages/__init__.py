"""The pages, a module each, named after its path. `show` handles the path itself.

May import the rest of `dashboard` except `site` and the modules that mount it, which import the pages. Start reading in
`jobs.py`.
"""
