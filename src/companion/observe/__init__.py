"""What a person or a machine can see of the running proxy, apart from the records: so far the log."""
