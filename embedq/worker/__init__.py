"""What runs jobs: the dispatcher that claims them, the threads and the event loop that run them, and the watchdog."""
