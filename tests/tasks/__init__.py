"""Functions as jobs: names, arguments, options, retries, signatures, the context of a running job."""
