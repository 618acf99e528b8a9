"""What is wrong with a queue, and what to do about it: `embedq doctor`.

    for section in examine(app):        # embedq.doctor.examination
        section.fine                    # what was found in order, for people
        section.findings                # what was not

It looks and changes nothing. Each subject has a file: the checks ask (storage/health.py, /proc), and say what they
found as a `Finding`.
"""
