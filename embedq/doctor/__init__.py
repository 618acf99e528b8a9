"""The doctor: problems of a queue and what to do about them, for `embedq doctor`.

    for section in examine(app):        # embedq.doctor.examination
        section.fine                    # what is in order, in words
        section.findings                # the problems

The doctor reads and changes nothing. `checks` is the table of all checks with their texts. A module for each subject
reads the facts (storage/health.py, /proc) and adds findings to a section.

May import `engine` and all below; it uses an app through the protocol `InspectedApp`. Start reading in
`examination.py`.
"""
