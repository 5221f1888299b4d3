"""Use cases, one verb a method. They return values and ids; they neither queue tasks nor know Celery or Flask."""
