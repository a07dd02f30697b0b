"""The files of a training run: their names, the event log, the lock and the saved state."""
