"""One module per remote, wire only: the remote's words, our errors. The only place that imports an SDK."""
