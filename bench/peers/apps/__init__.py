"""The job, one module per peer: each has the Celery app `app` and its task `work(job, closed_at)`."""
