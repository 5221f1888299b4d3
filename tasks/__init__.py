"""Tasks: the only code that knows Celery. A task is one service call and the queueing of what it returned."""
